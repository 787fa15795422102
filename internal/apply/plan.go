package apply

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/postroom/postroom/internal/store"
)

// Action is what is done to a record.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
)

// Change is what is done to one record.
type Change struct {
	Kind   string   `json:"kind"` // profile, user, queue or mailbox
	Name   string   `json:"name"`
	Action Action   `json:"action"`
	Fields []Field  `json:"fields"`
	Notes  []string `json:"notes,omitempty"` // what an admin should know before it is done
}

// Field is a key that changes. Values are as the file would have them; secrets are references, tokens a part of their
// digest.
type Field struct {
	Key string `json:"key"`
	Old string `json:"old"` // "" for a new record
	New string `json:"new"`
}

// Plan is what Execute will do.
type Plan struct {
	Changes []Change

	desired *Desired
}

// NewPlan compares what the files say with the database and returns what would change. It changes nothing.
//
// The error holds RecordsError when the files contradict the database: a profile that is nowhere, an address or a folder
// that another mailbox has.
func NewPlan(ctx context.Context, db *store.DB, desired *Desired) (*Plan, error) {
	records, err := db.Records(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what is there: %w", err)
	}
	target, err := resolve(records, desired)
	if err != nil {
		return nil, err
	}
	return &Plan{Changes: target.changes(), desired: desired}, nil
}

// Empty reports whether there is nothing to change.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// Print writes the plan for a person to read.
func (p *Plan) Print(w io.Writer) error {
	if p.Empty() {
		_, err := fmt.Fprintln(w, "nothing to change")
		return err
	}
	var b strings.Builder
	count := map[Action]int{}
	for _, c := range p.Changes {
		count[c.Action]++
		sign := map[Action]string{Create: "+", Update: "~"}[c.Action]
		fmt.Fprintf(&b, "%s %s %q\n", sign, c.Kind, c.Name)
		width := 0
		for _, f := range c.Fields {
			width = max(width, len(f.Key))
		}
		for _, f := range c.Fields {
			if c.Action == Create {
				fmt.Fprintf(&b, "    %-*s  %s\n", width, f.Key, orNone(f.New))
			} else {
				fmt.Fprintf(&b, "    %-*s  %s → %s\n", width, f.Key, orNone(f.Old), orNone(f.New))
			}
		}
		for _, note := range c.Notes {
			fmt.Fprintf(&b, "    ! %s\n", note)
		}
	}
	fmt.Fprintf(&b, "%d to create, %d to update\n", count[Create], count[Update])
	_, err := io.WriteString(w, b.String())
	return err
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// equal reports whether two plans do the same.
func (p *Plan) equal(changes []Change) bool {
	return slices.EqualFunc(p.Changes, changes, func(a, b Change) bool {
		return a.Kind == b.Kind && a.Name == b.Name && a.Action == b.Action && slices.Equal(a.Fields, b.Fields)
	})
}
