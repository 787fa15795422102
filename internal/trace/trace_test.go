package trace_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postroom/postroom/internal/trace"
)

func TestTextFillsInArguments(t *testing.T) {
	var tr trace.Trace
	tr.Add(trace.Fetch, "fetched", "octets", "12", "folder", "INBOX")
	if got, want := tr[0].Text(), "12 octets from INBOX"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnUnknownCodeIsShownAsItIs(t *testing.T) {
	if got := (trace.Step{Code: "from_a_newer_version"}).Text(); got != "from_a_newer_version" {
		t.Errorf("got %q", got)
	}
	if trace.Known("from_a_newer_version") || !trace.Known("fetched") {
		t.Error("Known is wrong")
	}
}

func TestArgumentsAreBoundedAndFitForText(t *testing.T) {
	var tr trace.Trace
	tr.AddItem(2, trace.Trust, "class", "a", strings.Repeat("é", 1000), "b", "x\x00\xff", "left_over")
	s := tr[0]
	if s.Item != 2 || len(s.Args) != 2 {
		t.Fatalf("got item %d with %d arguments", s.Item, len(s.Args))
	}
	if n := len(s.Args["a"]); n > trace.ArgOctets+len("…") || !utf8.ValidString(s.Args["a"]) {
		t.Errorf("a has %d octets, valid %v", n, utf8.ValidString(s.Args["a"]))
	}
	if got := s.Args["b"]; got != "x\uFFFD\uFFFD" {
		t.Errorf("b is %q", got)
	}
}

// TestEveryCodeHasItsText reads the code that makes steps: a code without a text would be shown bare.
func TestEveryCodeHasItsText(t *testing.T) {
	add := regexp.MustCompile(`(?:\.Add\(|\.AddItem\([^,]+, )(?:trace\.[A-Z]\w+|m\.at), "(\w+)"`)
	found := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, hit := range add.FindAllStringSubmatch(string(src), -1) {
			found++
			if code := trace.Code(hit[1]); !trace.Known(code) {
				t.Errorf("%s: code %q has no text", path, code)
			}
		}
		return nil
	})
	if err != nil || found < 20 {
		t.Errorf("found %d codes, %v", found, err)
	}
}
