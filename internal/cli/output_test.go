package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postroom/postroom/internal/store"
)

func TestTableFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(rt, "columns")
		tab := table{flex: rapid.IntRange(0, n-1).Draw(rt, "flex")}
		for range n {
			tab.header = append(tab.header, "HEAD")
		}
		for range rapid.IntRange(0, 4).Draw(rt, "rows") {
			tab.add(rapid.SliceOfN(rapid.String(), n, n).Draw(rt, "cells")...)
		}
		limit := rapid.IntRange(7*12+6*2, 200).Draw(rt, "limit")
		text := tab.text(limit)
		if got, want := strings.Count(text, "\n"), len(tab.rows)+1; got != want {
			rt.Fatalf("got %d lines, want %d: %q", got, want, text)
		}
		for line := range strings.Lines(text) {
			if w := columns(strings.TrimSuffix(line, "\n")); w > limit {
				rt.Fatalf("got %d columns, want at most %d: %q", w, limit, line)
			}
		}
	})
}

func TestTableIsAligned(t *testing.T) {
	tab := table{header: []string{"A", "B"}, flex: 1}
	tab.add("日本", "x")
	tab.add("e\u0301", "y")
	if got, want := tab.text(0), "A     B\n日本  x\ne\u0301     y\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTableIsCutOnATerminalOnly(t *testing.T) {
	long, id := strings.Repeat("x", 200), strings.Repeat("i", 36)
	tab := table{header: []string{"ID", "TEXT"}, flex: 1, ids: true}
	tab.add(id, long)
	if got := tab.text(0); !strings.Contains(got, id+"  "+long+"\n") {
		t.Errorf("piped: got %q, want nothing cut", got)
	}
	if got, want := tab.text(60), id+"  "+strings.Repeat("x", 21)+"…\n"; !strings.HasSuffix(got, want) {
		t.Errorf("60 columns: got %q, want %q", got, want)
	}
	if got := tab.text(20); !strings.Contains(got, id) {
		t.Errorf("20 columns: got %q, want the id whole", got)
	}
	a := &app{streams: Streams{Out: &strings.Builder{}}}
	if got := a.columns(); got != 0 {
		t.Errorf("not a terminal: got %d columns, want no limit", got)
	}
}

// Many mailboxes that fail do not flood the screen.
func TestStatusIsBounded(t *testing.T) {
	views := make([]store.MailboxView, 5000)
	for i := range views {
		views[i] = store.MailboxView{Name: "m", State: store.MoodFailing, ErrorClass: "auth", ErrorCode: "login_refused", ErrorText: "refused", ErrorHint: "mend it"}
	}
	o := &overview{}
	o.count(views)
	o.judge()
	text := o.text()
	if lines := strings.Count(text, "\n"); lines > 200 || !strings.Contains(text, "… and 4980 more") || len(o.Failing) != 20 {
		t.Errorf("got %d lines and %d failing, want 20 and how many more:\n%s", lines, len(o.Failing), text)
	}
	if len(o.Problems) != 5001 || o.Problems[1].Class != "auth" {
		t.Errorf("got %d problems, want all of them", len(o.Problems))
	}
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		s     string
		limit int
		want  string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"", 0, ""}, {"äöü", 2, "ä…"},
	} {
		if got := shorten(tt.s, tt.limit); got != tt.want {
			t.Errorf("shorten(%q, %d): got %q, want %q", tt.s, tt.limit, got, tt.want)
		}
	}
}

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"plain ä 日本":                            "plain ä 日本",
		"a\r\n\tb\u2028c":                       "a   b c",
		"\x1b[2J\x00\x7f\u009b\u202e\u2066\xff": "\uFFFD[2J\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD",
	} {
		if got := clean(s); got != want {
			t.Errorf("clean(%q): got %q, want %q", s, got, want)
		}
	}
}

// The detail of a plus-address may be a secret; what is no plus-address stays.
func TestMasked(t *testing.T) {
	for s, want := range map[string]string{
		"bob+s3cret@corp.example":                                  "bob+…@corp.example",
		"Bob <bob+s3cret@corp.example>, <a+b@x>":                   "Bob <bob+…@corp.example>, <a+…@x>",
		`"bob+s3cret"@corp.example`:                                `"bob+…@corp.example`,
		"bounce+bob+s3cret=x@list.example":                         "bounce+…@list.example",
		"by mx for <bob+s3cret@x>; Mon, 2 Nov 2026 10:00:00 +0100": "by mx for <bob+…@x>; Mon, 2 Nov 2026 10:00:00 +0100",
		"rfc822;bob+s3cret@x":                                      "rfc822;bob+…@x",
		"1 + 1 @ home, bob@x":                                      "1 + 1 @ home, bob@x",
		"multipart/signed; type=application/pkcs7+x":               "multipart/signed; type=application/pkcs7+x",
	} {
		if got := masked(s); got != want {
			t.Errorf("masked(%q): got %q, want %q", s, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m 1s", 3*time.Hour + 4*time.Minute: "3h 4m", 49 * time.Hour: "2d 1h",
	} {
		if got := ago(d); got != want {
			t.Errorf("ago(%v): got %q, want %q", d, got, want)
		}
	}
}

func TestSince(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"":                          {},
		"90m":                       now.Add(-90 * time.Minute),
		"7d":                        now.AddDate(0, 0, -7),
		"2026-11-01":                time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		"0001-01-01":                time.Unix(0, 0),
		"0000-01-01T00:00:00+02:00": time.Unix(0, 0),
		"2026-11-01T10:00:00+02:00": time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC),
	} {
		if got, err := since(s, now); err != nil || !got.Equal(want) {
			t.Errorf("since(%q): got %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"7", "-1h", "d", "-7d", "soon", "2026-13-01", "99999999d"} {
		if got, err := since(s, now); err == nil {
			t.Errorf("since(%q): got %v, want an error", s, got)
		}
	}
}

// Every reason that the ledger knows is explained.
func TestReasonsHaveText(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "receipt", "receipt.go"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`Reason = "(\w+)"`).FindAllSubmatch(source, -1)
	if len(reasons) < 20 {
		t.Fatalf("found %d reasons in the source, want all of them", len(reasons))
	}
	for _, r := range reasons {
		if reasonText(string(r[1])) == "" {
			t.Errorf("%s has no text", r[1])
		}
	}
	if got := reasonText("unheard_of"); got != "" {
		t.Errorf("got %q for an unknown reason, want nothing", got)
	}
}
