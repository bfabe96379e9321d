//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is where a run took place.
type machine struct {
	CPU     string  `json:"cpu"`
	CPUs    int     `json:"cpus"`
	Memory  int64   `json:"memory_bytes"`
	Kernel  string  `json:"kernel"`
	System  string  `json:"system"`
	Storage string  `json:"storage"` // file system that the image lies on
	Load    float64 `json:"load"`    // of the minute before
}

// thisMachine looks around; what cannot be told stays empty.
func thisMachine(image string) machine {
	m := machine{CPUs: runtime.NumCPU(), Kernel: "Linux " + release()}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = field(string(text), "model name", ":")
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		kib, _, _ := strings.Cut(field(string(text), "MemTotal", ":"), " ")
		n, _ := strconv.ParseInt(kib, 10, 64)
		m.Memory = n << 10
	}
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		m.System = strings.Trim(field(string(text), "PRETTY_NAME", "="), `"`)
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(text), " ")
		m.Load, _ = strconv.ParseFloat(first, 64)
	}
	if text, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		if major, minor, err := deviceOf(filepath.Dir(image)); err == nil {
			m.Storage = storageOf(string(text), fmt.Sprintf("%d:%d", major, minor))
		}
	}
	return m
}

// String is the machine in one line.
func (m machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, %d GiB, %s, %s, image on %s",
		m.CPU, m.CPUs, (m.Memory+1<<29)>>30, m.System, m.Kernel, m.Storage)
}

// field is the value of the first line of the form KEY SEPARATOR VALUE.
func field(text, key, separator string) string {
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(line, separator)
		if ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// storageOf finds the type and source of the file system with a device number in the
// text of /proc/self/mountinfo.
func storageOf(mountinfo, device string) string {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		columns, ending := strings.Fields(before), strings.Fields(after)
		if ok && len(columns) > 2 && len(ending) > 1 && columns[2] == device {
			return ending[0] + " (" + ending[1] + ")"
		}
	}
	return "unknown"
}

// release is the kernel's version.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	text, _, _ := bytes.Cut(u.Release[:], []byte{0})
	return string(text)
}

// readNumber reads a file that holds a decimal number.
func readNumber(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
