//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// command runs a program and gives what it printed on standard output. An error holds
// the command and what it complained of.
func command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if complaint.Len() == 0 {
			complaint = out
		}
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, lastLines(complaint.String(), 3))
	}
	return out.String(), nil
}

// fsck runs e2fsck; exit status 1, errors corrected, is well done.
func fsck(ctx context.Context, args ...string) error {
	_, err := command(ctx, append([]string{"e2fsck"}, args...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}
	return err
}

// lastLines is the end of a text, on one line.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
