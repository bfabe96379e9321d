//go:build race

package blockio_test

const raceEnabled = true
