package shell

import (
	"os/exec"
	"testing"
)

// TestQuote: the shell reads what was quoted, and plain names stay as they are.
func TestQuote(t *testing.T) {
	for _, name := range []string{"disk.img", "/dev/mapper/a-b_c", "", "a b;c", "it's", "''", `$HOME "x" \`, "`id`", "a\nb", "ü\xff", "a*b", "#x", "~", "a&&b"} {
		quoted := Quote(name)
		out, err := exec.Command("sh", "-c", "printf %s "+quoted).Output()
		if err != nil || string(out) != name {
			t.Errorf("%q: the shell reads %q as %q (%v)", name, quoted, out, err)
		}
	}
	for _, name := range []string{"disk.img", "/mnt/A1_@%+=:,./-"} {
		if got := Quote(name); got != name {
			t.Errorf("%q became %q", name, got)
		}
	}
}
