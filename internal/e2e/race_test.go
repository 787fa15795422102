//go:build race

package e2e

// raceEnabled says that the tests run with the race detector, and that the binary is to be built with it.
const raceEnabled = true
