//go:build !race

package ext2

const raceEnabled = false
