// Package shell writes names as sh(1) reads them, for the commands that messages advise.
package shell

import "strings"

// plain are the bytes that mean themselves in a word of the shell.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"

// Quote makes one word of a name, whatever is in it: in single quotes, unless it is one as it
// stands.
func Quote(name string) string {
	if name != "" && strings.Trim(name, plain) == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
