//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"fmt"
	"os"
	"runtime"
	rt "runtime/metrics"
	"strings"
)

// processStat looks at this process.
func processStat() ProcessStat {
	p := ProcessStat{Goroutines: runtime.NumGoroutine()}
	live := []rt.Sample{{Name: "/gc/heap/live:bytes"}}
	if rt.Read(live); live[0].Value.Kind() == rt.KindUint64 {
		p.Live = int64(live[0].Value.Uint64())
	}
	if d, err := os.Open("/proc/self/fd"); err == nil {
		names, _ := d.Readdirnames(-1)
		_ = d.Close()
		p.Descriptors = max(len(names)-1, 0) // without the one that looked
	}
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		var kib int64
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "Threads":
			_, _ = fmt.Sscan(value, &p.Threads)
		case "VmRSS":
			_, _ = fmt.Sscan(value, &kib)
			p.Resident = kib << 10
		case "VmHWM":
			_, _ = fmt.Sscan(value, &kib)
			p.ResidentMost = kib << 10
		}
	}
	return p
}
