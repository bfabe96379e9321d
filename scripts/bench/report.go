//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// report is all that was measured, as it goes into the JSON file.
type report struct {
	Machine machine      `json:"machine"`
	Date    string       `json:"date"` // YYYY-MM-DD
	Quick   bool         `json:"quick"`
	Rounds  int          `json:"rounds"`
	Method  []string     `json:"method"`
	Drivers []driverInfo `json:"drivers"`
	LeftOut []string     `json:"left_out"`
	Rows    []*row       `json:"workloads"`
	Figures []figure     `json:"figures"`
	Targets []target     `json:"targets"`
}

// driverInfo is what is told of a driver that took part.
type driverInfo struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	ReadAhead int    `json:"read_ahead_kib"` // of its mounts; 0: cannot be told
}

// row is one workload in one state of the caches.
type row struct {
	Workload string               `json:"workload"`
	Title    string               `json:"title"`
	State    state                `json:"state"`
	Bytes    int64                `json:"bytes,omitempty"`
	Seconds  map[string][]float64 `json:"seconds"` // by driver, a value per round
	Summary  map[string]summary   `json:"summary"` // seconds
}

// figure is a measurement other than the time of a workload.
type figure struct {
	Name   string    `json:"name"`
	Driver string    `json:"driver"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	summary
}

// driver is what is told of a driver; the zero value if it took no part.
func (r *report) driver(name string) driverInfo {
	for _, d := range r.Drivers {
		if d.Name == name {
			return d
		}
	}
	return driverInfo{}
}

// median is a driver's median time in seconds.
func (r *report) median(workload string, s state, driver string) (float64, bool) {
	for _, row := range r.Rows {
		if row.Workload == workload && row.State == s {
			sum, ok := row.Summary[driver]
			return sum.Median, ok
		}
	}
	return 0, false
}

// ratio is how many times a's median time is b's.
func (r *report) ratio(workload string, s state, a, b string) (float64, bool) {
	x, okX := r.median(workload, s, a)
	y, okY := r.median(workload, s, b)
	if !okX || !okY || y == 0 {
		return 0, false
	}
	return x / y, true
}

// figure is a measurement of a driver.
func (r *report) figure(name, driver string) (figure, bool) {
	for _, f := range r.Figures {
		if f.Name == name && f.Driver == driver {
			return f, true
		}
	}
	return figure{}, false
}

func (r *report) addFigure(name, driver, unit string, values ...float64) {
	r.Figures = append(r.Figures, figure{name, driver, unit, values, summarize(values)})
}

// missed counts the targets that were measured and not reached.
func (r *report) missed() int {
	n := 0
	for _, t := range r.Targets {
		if t.Verdict == verdictMissed {
			n++
		}
	}
	return n
}

// publish prints the report as text and writes the files that were asked for.
func (r *report) publish(c *config, out io.Writer) error {
	data, jsonErr := json.MarshalIndent(r, "", "  ")
	svg, ok := r.chart()
	if c.svgFile != "" && !ok {
		r.LeftOut = append(r.LeftOut, "the chart: it compares with the kernel's times, and there are none")
		c.svgFile = "" // what is there stays
	}
	text := r.text()
	if c.jsonFile == "-" || c.markdownFile == "-" || c.svgFile == "-" {
		text = "" // standard output is for what was asked for
	}
	_, err := io.WriteString(out, text)
	return errors.Join(err, jsonErr,
		save(c.jsonFile, out, append(data, '\n')),
		save(c.markdownFile, out, []byte(r.markdown())),
		save(c.svgFile, out, svg))
}

// readReport reads the JSON file of an earlier run.
func readReport(name string) (*report, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(r.Rows) == 0 || slices.Contains(r.Rows, nil) {
		return nil, fmt.Errorf("%s: not the results of a run", name)
	}
	return r, nil
}

// save writes to a file, or to out for -; no name is nothing to do.
func save(name string, out io.Writer, data []byte) error {
	switch name {
	case "":
		return nil
	case "-":
		_, err := out.Write(data)
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
