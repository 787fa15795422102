package apply

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/postroom/postroom/internal/fault"
)

// Problem is one thing that is wrong in a file, and how to mend it. It never repeats a value that could be a secret.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`    // 0: the file as a whole
	Key  string `json:"key"`     // users[0].mailbox.start; "" for the file as a whole
	Text string `json:"problem"` // what is wrong
	Mend string `json:"mend"`    // what to do; may be empty
}

// String returns file:line: key: what is wrong; what to do.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Text)
	if p.Mend != "" {
		b.WriteString("; " + p.Mend)
	}
	return b.String()
}

// RecordsError is everything that is wrong, in the order of files and lines.
type RecordsError []Problem

// Error returns one line for each problem.
func (p RecordsError) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// err returns nil if nothing is wrong, else an error of class Permanent that holds all problems.
func (p RecordsError) err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return fault.New(fault.Permanent, "records_invalid", "mend what is named and apply again: nothing was changed", slices.Compact(p))
}

// place is where something stands.
type place struct {
	file string
	line int
	key  string
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

func (p *RecordsError) add(at place, mend, format string, args ...any) {
	*p = append(*p, Problem{File: at.file, Line: at.line, Key: at.key, Text: fmt.Sprintf(format, args...), Mend: mend})
}
