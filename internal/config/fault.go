package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Key     string `json:"key"`     // "scheduler.heartbeat"; "" if it is about the file
	Where   string `json:"where"`   // "postroom.yaml:12", "$POSTROOM_LOG_LEVEL"; "" if it stands nowhere
	Problem string `json:"problem"` // what is wrong
	Mend    string `json:"mend"`    // what to do

	line int
}

// String returns the fault on one line.
func (f Fault) String() string {
	var b strings.Builder
	for _, s := range []string{f.Where, f.Key} {
		if s != "" {
			b.WriteString(s + ": ")
		}
	}
	b.WriteString(f.Problem)
	if f.Mend != "" {
		b.WriteString("; " + f.Mend)
	}
	return b.String()
}

// Error is all the faults of a configuration. It means exit code 78 (EX_CONFIG of sysexits).
type Error struct {
	Faults []Fault
}

// Error returns a line for their number and one for each fault.
func (e *Error) Error() string {
	var b strings.Builder
	switch len(e.Faults) {
	case 1:
		b.WriteString("the configuration has 1 fault")
	default:
		fmt.Fprintf(&b, "the configuration has %d faults", len(e.Faults))
	}
	for _, f := range e.Faults {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

// faults collects what is wrong and what is doubtful.
type faults struct {
	list     []Fault
	warnings []string
}

func (f *faults) add(fault Fault) { f.list = append(f.list, fault) }

func (f *faults) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// met reports whether key has a fault already, so that one mistake is told once.
func (f *faults) met(key string) bool {
	return slices.ContainsFunc(f.list, func(g Fault) bool { return g.Key == key })
}

// err returns the faults in the order of the file, those of the environment after them; nil if there are none.
func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(rank(a.line), rank(b.line)), cmp.Compare(a.Key, b.Key))
	})
	return &Error{Faults: f.list}
}

func rank(line int) int {
	if line == 0 {
		return 1 << 30
	}
	return line
}
