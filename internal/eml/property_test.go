package eml

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// tree is a message that a test makes up.
type tree struct {
	body     string
	children []*tree
}

// drawTree makes up a tree whose bodies may hold anything but the boundaries.
func drawTree(t *rapid.T, depth int) *tree {
	n := 0
	if depth > 0 {
		n = rapid.IntRange(0, 3).Draw(t, "children")
	}
	if n == 0 {
		return &tree{body: rapid.StringMatching(`([a-z:=> \-]{0,8}(\n|\r\n)?){0,4}`).Draw(t, "body")}
	}
	children := make([]*tree, n)
	for i := range children {
		children[i] = drawTree(t, depth-1)
	}
	return &tree{children: children}
}

// write writes a tree as an entity. id makes boundaries differ, each being the beginning of those within.
func (x *tree) write(out *strings.Builder, eol, id string) {
	if len(x.children) == 0 {
		out.WriteString("Content-Type: text/x-leaf" + eol + eol + x.body)
		return
	}
	b := "=_" + id
	out.WriteString("Content-Type: multipart/mixed;" + eol + " boundary=\"" + b + "\"" + eol + eol)
	for i, child := range x.children {
		out.WriteString("--" + b + eol)
		child.write(out, eol, fmt.Sprintf("%s%d", id, i))
		out.WriteString(eol)
	}
	out.WriteString("--" + b + "--" + eol)
}

// same compares a part with the tree it was made of.
func (x *tree) same(m *Message, p *Part) error {
	if len(x.children) != len(p.Children) {
		return fmt.Errorf("part %q: got %d children, want %d", p.Path, len(p.Children), len(x.children))
	}
	if len(x.children) == 0 {
		if got := string(m.Encoded(p)); got != x.body {
			return fmt.Errorf("part %q: got %q, want %q", p.Path, got, x.body)
		}
		return nil
	}
	if !p.Closed {
		return fmt.Errorf("part %q is not closed", p.Path)
	}
	for i, child := range x.children {
		if err := child.same(m, p.Children[i]); err != nil {
			return err
		}
	}
	return nil
}

// TestReadWritten checks that a message that was written is read with the same parts, octet by octet.
func TestReadWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x := drawTree(t, 4)
		eol := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "line end")
		var out strings.Builder
		out.WriteString("Subject: x" + eol)
		x.write(&out, eol, "b")
		m := Read([]byte(out.String()), Limits{})
		if err := x.same(m, m.Root); err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
		if len(m.Defects) > 0 {
			t.Fatalf("got defects %v in\n%s", m.Defects, out.String())
		}
	})
}
