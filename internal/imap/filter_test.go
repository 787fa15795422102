package imap

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFilter(t *testing.T) {
	fetch := want{fetch: true, body: true}
	for name, tc := range map[string]struct {
		want    want
		in, out string
	}{
		"greeting":                     {want{}, "* OK [CAPABILITY IMAP4rev1] hi\r\n", "* OK [CAPABILITY IMAP4rev1] hi\r\n"},
		"greeting without text":        {want{}, "* OK\r\n", "* OK\r\n"},
		"greeting without a code":      {want{}, "* ok [] hi\n", "* OK hi\r\n"},
		"code that does not end":       {want{}, "* OK [XCODE hi\r\n", "* OK XCODE hi\r\n"},
		"second status goes":           {want{}, "* OK a\r\n* OK [HIGHESTMODSEQ x] b\r\n* NO [ALERT] c\r\nT1 OK\r\n", "* OK a\r\nT1 OK\r\n"},
		"useful codes stay":            {want{}, "* OK a\r\n* OK [UIDVALIDITY 4] x\r\n* OK [uidnext 5]\r\n", "* OK a\r\n* OK [UIDVALIDITY 4] x\r\n* OK [UIDNEXT 5]\r\n"},
		"malformed useful codes go":    {want{}, "* OK a\r\n* OK [UIDNEXT x] y\r\n* OK [UIDNEXT 0] y\r\n* OK [UIDVALIDITY 99999999999]\r\n", "* OK a\r\n"},
		"BYE stays":                    {want{}, "* OK a\r\n* BYE [UNAVAILABLE] c\r\n", "* OK a\r\n* BYE c\r\n"},
		"tagged COPYUID goes":          {want{}, "T1 OK [COPYUID 1 2 *] done\r\n", "T1 OK done\r\n"},
		"tagged NO keeps its code":     {want{}, "T1 NO [OVERQUOTA x y] full\r\n", "T1 NO [OVERQUOTA] full\r\n"},
		"tagged NO with odd code":      {want{}, "T1 NO [a(b] full\r\n", "T1 NO full\r\n"},
		"tagged capabilities":          {want{}, "T1 OK [CAPABILITY A (B C] x\r\n", "T1 OK [CAPABILITY A C] x\r\n"},
		"text in brackets":             {want{}, "T1 OK [X] [Y] z\r\n", "T1 OK Y] z\r\n"},
		"control characters":           {want{}, "T1 NO a\x00\x1bb\r\n", "T1 NO ab\r\n"},
		"continuation":                 {want{}, "+ go on\r\n+\r\n", "+ go on\r\n+\r\n"},
		"capabilities":                 {want{}, "* CAPABILITY A B=C \"D\"\r\n", "* CAPABILITY A B=C\r\n"},
		"rev1 and rev2":                {want{}, "* CAPABILITY IMAP4rev1 IMAP4REV2 X\r\n", "* CAPABILITY IMAP4rev1 X\r\n"},
		"rev2 alone":                   {want{}, "* CAPABILITY IMAP4rev2\r\n", "* CAPABILITY IMAP4rev2\r\n"},
		"unknown ones":                 {want{}, "* XYZZY 1\r\n* VANISHED (EARLIER) 1:3\r\n* 3 XFOO (((\r\n* 3\r\n", ""},
		"unasked ones":                 {want{}, "* LIST () \"/\" x\r\n* SEARCH 1 2\r\n* 1 FETCH (UID 1)\r\n* FLAGS (\\Seen)\r\n* 1 EXPUNGE\r\n* 1 RECENT\r\n", ""},
		"unknown with literal":         {want{}, "* LSUB () \"/\" {5}\r\na(\r\nb\r\nT1 OK x\r\n", "T1 OK x\r\n"},
		"unknown with two literals":    {want{}, "* X {1}\r\nT {3}\r\n\r\nT 1\r\nT1 OK x\r\n", "T1 OK x\r\n"},
		"no literal in a string":       {want{}, "* X \"a{3}\r\nT1 OK x\r\n", "T1 OK x\r\n"},
		"blank lines":                  {want{}, "\r\n \r\nT1 OK x\r\n", "T1 OK x\r\n"},
		"EXISTS":                       {want{}, "* 3 exists\r\n* 99999999999 EXISTS\r\n", "* 3 EXISTS\r\n"},
		"SEARCH":                       {want{search: true}, "* SEARCH 1 2 \r\n* SEARCH\r\n", "* SEARCH 1 2\r\n* SEARCH\r\n"},
		"LIST":                         {want{list: true}, "* LIST (\\X) \".\" \"a(\"\r\n", "* LIST (\\X) \".\" \"a(\"\r\n"},
		"LIST with literal":            {want{list: true}, "* LIST () \".\" {4}\r\na\r\nb\r\nT1 OK x\r\n", "* LIST () \".\" {4}\r\na\r\nb\r\nT1 OK x\r\n"},
		"FETCH of a list":              {want{fetch: true}, "* 1 FETCH (UID 7 RFC822.SIZE 5 INTERNALDATE \" 1-Feb-2026 01:02:03 +0000\")\r\n", "* 1 FETCH (UID 7 RFC822.SIZE 5 INTERNALDATE \" 1-Feb-2026 01:02:03 +0000\")\r\n"},
		"FETCH in lower case":          {want{fetch: true}, "* 1 fetch (uid 7 rfc822.size 5)\r\n", "* 1 FETCH (UID 7 RFC822.SIZE 5)\r\n"},
		"FETCH with odd values":        {want{fetch: true}, "* 1 FETCH (UID 7 RFC822.SIZE -1 INTERNALDATE \"yesterday\")\r\n* 2 FETCH (UID 8 INTERNALDATE NIL RFC822.SIZE NIL)\r\n", "* 1 FETCH (UID 7)\r\n* 2 FETCH (UID 8)\r\n"},
		"FETCH of flags":               {want{fetch: true}, "* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (FLAGS (\\Seen) UID 3)\r\n", "* 2 FETCH (UID 3)\r\n"},
		"FETCH of what is not asked":   {want{fetch: true}, "* 1 FETCH (UID 7 X-GM-MSGID 12 ENVELOPE (NIL \"((({5}\" {3}\r\n)(() BODY[] {5}\r\nhe((o RFC822.SIZE 5)\r\n", "* 1 FETCH (UID 7 RFC822.SIZE 5)\r\n"},
		"FETCH of a body":              {fetch, "* 1 FETCH (UID 7 BODY[] {5}\r\nhe)\r\n)\r\n", "* 1 FETCH (UID 7 BODY[] {5}\r\nhe)\r\n)\r\n"},
		"FETCH with UID after it":      {fetch, "* 1 FETCH (FLAGS () body[] {5}\r\nhello UID 7 FLAGS (\\Seen))\r\n", "* 1 FETCH (BODY[] {5}\r\nhello UID 7)\r\n"},
		"FETCH of an empty body":       {fetch, "* 1 FETCH (UID 7 BODY[] {0}\r\n)\r\nT1 OK x\r\n", "* 1 FETCH (UID 7 BODY[] {0}\r\n)\r\nT1 OK x\r\n"},
		"FETCH of a quoted body":       {fetch, "* 1 FETCH (UID 7 BODY[] \"a\\\")b\")\r\n", "* 1 FETCH (UID 7 BODY[] \"a\\\")b\")\r\n"},
		"FETCH of no body":             {fetch, "* 1 FETCH (UID 7 BODY[] nil)\r\n", "* 1 FETCH (UID 7 BODY[] NIL)\r\n"},
		"FETCH of a header":            {fetch, "* 1 FETCH (UID 7 BODY[HEADER]<0> {2}\r\nab)\r\n", "* 1 FETCH (UID 7 BODY[HEADER]<0> {2}\r\nab)\r\n"},
		"FETCH of another section":     {fetch, "* 1 FETCH (UID 7 BODY[TEXT] {2}\r\nab RFC822 {2}\r\nab BODY[]<x> {1}\r\na)\r\n", "* 1 FETCH (UID 7)\r\n"},
		"FETCH without list":           {fetch, "* 1 FETCH\r\n* 1 FETCH UID 3\r\nT1 OK x\r\n", "T1 OK x\r\n"},
		"FETCH that does not end":      {fetch, "* 1 FETCH (UID 7\r\n* 1 FETCH (UID 7 FLAGS (\r\n* 1 FETCH (UID 7 BODY[\r\n* 1 FETCH (UID 7 INTERNALDATE \"\r\n* 1 FETCH (UID\r\nT1 OK x\r\n", "T1 OK x\r\n"},
		"FETCH with more after it":     {fetch, "* 1 FETCH (UID 7) UID 8\r\nT1 OK x\r\n", "T1 OK x\r\n"},
		"FETCH with UID 0 and a large": {fetch, "* 1 FETCH (UID 0)\r\n* 1 FETCH (UID 4294967296)\r\n", ""},
		"FETCH malformed after literal that was dropped": {fetch, "* 1 FETCH (UID 7 X {1}\r\na UID\r\nT1 OK x\r\n", "T1 OK x\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for reader, r := range map[string]io.Reader{
				"whole":      strings.NewReader(tc.in),
				"by octet":   iotest.OneByteReader(strings.NewReader(tc.in)),
				"with error": iotest.DataErrReader(strings.NewReader(tc.in)),
			} {
				f := newFilter(r)
				f.expect(tc.want)
				got, err := io.ReadAll(f)
				if err != nil || string(got) != tc.out {
					t.Errorf("%s: got %q and %v, want %q", reader, got, err, tc.out)
				}
				if !errors.Is(f.failure(), io.EOF) {
					t.Errorf("%s: failure: got %v, want EOF", reader, f.failure())
				}
			}
		})
	}
}

func TestFilterLimits(t *testing.T) {
	all := want{fetch: true, body: true, list: true, search: true}
	big := strings.Repeat("x", maxResponse)
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"no response":                {"HTTP/1.1 400 Bad Request\r\n", errLine},
		"no tag":                     {"*\xa0 1 FETCH (UID 7)\r\n", errLine},
		"no end of it":               {"*\r\n", errLine},
		"long line":                  {"* " + big + "\r\n", errResponse},
		"line without end":           {big + big, errResponse},
		"long string":                {"* 1 FETCH (UID 7 ENVELOPE (\"" + big + big, errResponse},
		"nested FETCH":               {"* 1 FETCH (BODYSTRUCTURE " + strings.Repeat("(", maxNesting+1) + "\r\n", errNesting},
		"nested LIST":                {"* LIST " + strings.Repeat("(", maxNesting+1) + "\r\n", errNesting},
		"long folder name":           {"* LIST () \".\" {70000}\r\n", errResponse},
		"many literals in one":       {"* X " + strings.Repeat("{1}\r\na", maxResponse/5), errResponse},
		"malformed after literal":    {"* 1 FETCH (UID 7 BODY[] {1}\r\na UID\r\n", errFetch},
		"long SEARCH is allowed":     {"* SEARCH" + strings.Repeat(" 1234567890", maxResponse/4) + "\r\n", io.EOF},
		"long SEARCH is not endless": {"* SEARCH" + strings.Repeat(" 1234567890", maxSearch/11+1) + "\r\n", errResponse},
		"EOF in a literal":           {"* 1 FETCH (UID 7 BODY[] {10}\r\nabc", io.EOF},
		"EOF in a dropped literal":   {"* X {10}\r\nabc", io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFilter(strings.NewReader(tc.in))
			f.expect(all)
			if _, err := io.Copy(io.Discard, f); err != nil {
				t.Errorf("read: got %v, want the end", err)
			}
			if got := f.failure(); !errors.Is(got, tc.want) {
				t.Errorf("failure: got %v, want %v", got, tc.want)
			}
			if n, err := f.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("read after the end: got %d and %v, want 0 and io.EOF", n, err)
			}
		})
	}
}

func TestFilterNotes(t *testing.T) {
	f := newFilter(strings.NewReader("* PREAUTH hi\r\n* OK [ALERT] mind\r\n* XYZZY\r\n* 1 FETCH (UID\r\n* 1 FETCH (RFC822.SIZE 4)\r\n" +
		"* 1 FETCH (FLAGS ())\r\n* BYE [LIMIT] too\tmany\r\n"))
	f.expect(want{fetch: true})
	if _, err := io.Copy(io.Discard, f); err != nil {
		t.Fatal(err)
	}
	got := f.notes()
	if got.bye == nil || *got.bye != (status{code: "LIMIT", text: "toomany"}) {
		t.Errorf("BYE: got %+v, want LIMIT", got.bye)
	}
	got.bye = nil
	if want := (seen{preauth: true, warning: "mind", dropped: 1, malformed: 1, noUID: 1, bare: 1}); got != want {
		t.Errorf("notes: got %+v, want %+v", got, want)
	}
}

func TestFilterFreezesCapabilities(t *testing.T) {
	f := newFilter(strings.NewReader("* CAPABILITY MOVE\r\n* OK [CAPABILITY MOVE] a\r\nT1 OK [CAPABILITY MOVE] b\r\n"))
	f.freeze()
	got, _ := io.ReadAll(f)
	if want := "* OK a\r\nT1 OK b\r\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzFilter looks for input that makes the filter panic, hand out more than it read, depend on how the octets come, or
// hand out a line that the client library is to be kept from.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		greeting + "* 2 EXISTS\r\n* OK [UIDVALIDITY 9] ok\r\nT1 OK [READ-ONLY] done\r\n",
		"* 1 FETCH (UID 7 X {1}\r\na BODY[] {5}\r\nhello)\r\n* 2 FETCH (FLAGS (\\Seen) BODY[HEADER]<0> \"a\" UID 8)\r\nT2 OK\r\n",
		"* LIST () \".\" {4}\r\na\r\nb\r\n* SEARCH 1 2\r\n* LSUB {3}\r\nabc\r\n+ go\r\n* BYE\r\n",
		"* 1 FETCH (BODYSTRUCTURE ((((((\r\n* 1 FETCH (UID 1 ENVELOPE (\"A\"B\" {2}\r\n)) {3}\r\nabc))\r\n",
	} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, asked bool) {
		read := func(r io.Reader) (string, seen, error) {
			filter := newFilter(r)
			filter.expect(want{fetch: asked, body: asked, list: asked, search: asked})
			out, err := io.ReadAll(filter)
			if err != nil {
				t.Fatalf("read: got %v, want nothing but the end", err)
			}
			notes := filter.notes()
			notes.bye = nil // a pointer
			return string(out), notes, filter.failure()
		}
		out, notes, failed := read(strings.NewReader(string(in)))
		if len(out) > 2*len(in)+64 {
			t.Errorf("handed out %d octets of %d", len(out), len(in))
		}
		again, notes2, failed2 := read(iotest.OneByteReader(strings.NewReader(string(in))))
		if out != again || notes != notes2 || (failed == nil) != (failed2 == nil) {
			t.Errorf("octet by octet: got %q, want %q as in one piece", again, out)
		}
		if asked {
			return // there are literals, in which there is anything
		}
		for line := range strings.Lines(out) {
			words := strings.Fields(line)
			exists := len(words) == 3 && words[0] == "*" && isNumber(words[1]) && words[2] == "EXISTS"
			if !exists && line[0] != '+' && !isStatus(words[1]) && words[1] != "CAPABILITY" {
				t.Errorf("handed out %q, which was not asked for", line)
			}
		}
	})
}
