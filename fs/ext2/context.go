package ext2

import (
	"context"
	"errors"
	"fmt"
)

// isEnd tells whether err is the end of ctx.
func isEnd(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// stopped adds to the end of ctx what was under way. Other errors, and nil, come back as
// they are.
func stopped(ctx context.Context, err error, what string) error {
	if !isEnd(ctx, err) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// stopped adds to the end of ctx what was under way, and with which inode. Other errors, and
// nil, come back as they are.
func (in *Inode) stopped(ctx context.Context, err error, what string) error {
	if !isEnd(ctx, err) {
		return err
	}
	return fmt.Errorf("%s inode %d: %w", what, in.ino, err)
}
