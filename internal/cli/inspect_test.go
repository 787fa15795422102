package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postroom/postroom/internal/cli"
)

const (
	plain   = "From: ann@customer.example\r\nTo: bob@corp.example\r\nSubject: Hello\r\nDate: Fri, 20 Nov 2026 10:00:00 +0100\r\nMessage-ID: <plain@customer.example>\r\n\r\nHi.\r\n"
	wrapper = "From: bob@corp.example\r\nTo: central@corp.example\r\nSubject: Fw\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + plain + "\r\n--b--\r\n"
)

type object struct {
	File      string           `json:"file"`
	Class     string           `json:"class"`
	Reason    string           `json:"reason"`
	Octets    int64            `json:"octets"`
	Originals []map[string]any `json:"originals"`
	Message   map[string]any   `json:"message"`
}

func objects(t *testing.T, out string) []object {
	t.Helper()
	var list []object
	for line := range strings.Lines(out) {
		var o object
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in line %q, want one object a line", err, line)
		}
		list = append(list, o)
	}
	return list
}

func TestInspect(t *testing.T) {
	one, two := file(t, "one.eml", plain), file(t, "two.eml", wrapper)
	r := run(t, "inspect", "--output", "json", one, two)
	r.wants(t, cli.Done)
	got := objects(t, r.out)
	if len(got) != 2 || got[0].File != one || got[0].Class != "ordinary" || got[1].Class != "wrapper" || len(got[1].Originals) != 1 {
		t.Fatalf("got %+v, want an ordinary message and a wrapper with one original", got)
	}
	if id := got[1].Message["message_id"]; id != "plain@customer.example" && id != "<plain@customer.example>" {
		t.Errorf("got message_id %v, want the original's", id)
	}
	run(t, "inspect", one).wants(t, cli.Done, "one.eml", "ordinary", "Hello")
}

func TestInspectAsUserUnwrapsNothing(t *testing.T) {
	got := objects(t, run(t, "inspect", "--as", "user", "--output", "json", file(t, "w.eml", wrapper)).out)
	if len(got) != 1 || got[0].Class == "wrapper" || len(got[0].Originals) != 0 {
		t.Errorf("got %+v, want no wrapper", got)
	}
}

func TestInspectStandardInput(t *testing.T) {
	r := invoke(t, cli.Deps{}, nil, plain, "inspect", "--output", "json", "-")
	got := objects(t, r.out)
	if r.code != cli.Done || len(got) != 1 || got[0].Octets != int64(len(plain)) {
		t.Errorf("got %d %+v, want one object of %d octets", r.code, got, len(plain))
	}
}

// What cannot be read is told of, and never stops the others.
func TestInspectGoesOnAfterWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	good := file(t, "good.eml", plain)
	files := []string{filepath.Join(dir, "missing"), dir, pipe, os.DevNull, file(t, "empty.eml", ""), good}
	r := run(t, append([]string{"inspect", "--output", "json"}, files...)...)
	r.wants(t, cli.Failed, "missing: no such file or directory")
	got := objects(t, r.out)
	if len(got) != len(files) {
		t.Fatalf("got %d objects, want one for each of %d files", len(got), len(files))
	}
	for i, o := range got {
		want := "unreadable"
		if files[i] == good {
			want = "ordinary"
		}
		if o.File != files[i] || o.Class != want || o.Reason == "" || o.Originals == nil {
			t.Errorf("%s: got %+v, want class %s with a reason and a list of originals", files[i], o, want)
		}
	}
	run(t, append([]string{"inspect"}, files...)...).wants(t, cli.Failed, "missing: no such file", "empty.eml: no octets")
}

// A long file goes through a temporary file, and may be cut by its owner meanwhile.
func TestInspectLongFile(t *testing.T) {
	long := file(t, "long.eml", plain+strings.Repeat("0123456789abcdef\r\n", 200_000))
	got := objects(t, run(t, "inspect", "--output", "json", long).out)
	if len(got) != 1 || got[0].Class != "ordinary" || got[0].Octets < 3_000_000 {
		t.Errorf("got %d objects, want one that is ordinary and whole", len(got))
	}
}

func TestInspectSendsNoControlCharactersToTheTerminal(t *testing.T) {
	hostile := strings.Replace(plain, "Subject: Hello", "Subject: =?utf-8?q?=1B]0;x=07?= \x1b[2J", 1) + "\x1b[31mred\u202e\r\n"
	r := run(t, "inspect", file(t, "h\x1b[2Jostile.eml", hostile))
	r.wants(t, cli.Done)
	if i := strings.IndexAny(r.out+r.err, "\x1b\x07\u202e"); i >= 0 {
		t.Errorf("got a control character at %d of %q", i, r.out+r.err)
	}
}
