package eml

import (
	"slices"
	"strings"
	"testing"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, subject, body string
		defects                 []string
	}{
		{"folded", "Subject: one\n two\n\tthree\n\nb", "one two\tthree", "b", nil},
		{"fold of blanks alone", "Subject: one\n \n two\nX-A: b\n\nb", "one  two", "b", nil},
		{"blanks alone before a field", "Subject: one\n \nX-A: b\n\nb", "one", "b", nil},
		{"blanks alone separate", "Subject: one\n \t\nbody", "one", "body", nil},
		{"blank before colon", "Subject : one\n\nb", "one", "b", []string{DefectBadFieldName}},
		{"no blank after colon", "Subject:one\n\nb", "one", "b", nil},
		{"case", "SUBJECT: one\n\nb", "one", "b", nil},
		{"8-bit name", "Subj\xE9: x\nSubject: one\n\nb", "one", "b", []string{DefectBadFieldName}},
		{"no colon, then a field", "X-A: b\nthis is wrong\nSubject: one\n\nb", "one", "b", []string{DefectBadHeaderLine}},
		{"no separator", "Subject: one\nThe body begins here.\n\nmore", "one", "The body begins here.\n\nmore", []string{DefectNoSeparator}},
		{"no separator, an address", "Subject: one\nhttps://a.example\n", "one", "https://a.example\n", []string{DefectNoSeparator}},
		{"mixed line ends", "Subject: one\r\nX-A: b\n\nb", "one", "b", []string{DefectMixedLineEnds}},
		{"empty value", "Subject:\n\nb", "", "b", nil},
		{"two, the first counts", "Subject: one\nSubject: two\n\nb", "one", "b", nil},
		{"no body", "Subject: one", "one", "", nil},
		{
			"continuation that lost its indent", "Content-Type: text/plain;\nname=\"a b.txt\"\nSubject: one\n\nb", "one", "b",
			[]string{DefectBadHeaderLine},
		},
		{
			"stray line before base64", "Subject: one\nContent-Transfer-Encoding: base64\nstray\n\nYg==", "one", "Yg==",
			[]string{DefectBadHeaderLine},
		},
	} {
		m := Read([]byte(c.in), Limits{})
		if got := m.Root.Header.Get("Subject"); got != c.subject {
			t.Errorf("%s: got subject %q, want %q", c.name, got, c.subject)
		}
		if got := string(m.Encoded(m.Root)); got != c.body {
			t.Errorf("%s: got body %q, want %q", c.name, got, c.body)
		}
		if got := codes(m); !slices.Equal(got, list(c.defects)) {
			t.Errorf("%s: got defects %q, want %q", c.name, got, c.defects)
		}
	}
}

func TestHeaderContinuationName(t *testing.T) {
	t.Parallel()
	m := Read([]byte("Content-Type: text/plain;\nname=\"a b.txt\"\n\nb"), Limits{})
	if got := m.Root.Filename; got != "a b.txt" {
		t.Errorf("got file name %q, want %q", got, "a b.txt")
	}
}

func TestHeaderFields(t *testing.T) {
	t.Parallel()
	raw := "Received: a;\n b\nReceived: c\nX-Empty:\n\nbody"
	h := Read([]byte(raw), Limits{}).Root.Header
	if got, want := h.All("received"), []string{"a; b", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := h.All("x-none"); got != nil {
		t.Errorf("got %q for a field that is not there", got)
	}
	if got := string(h[0].Raw); got != "Received: a;\n b\n" {
		t.Errorf("got raw field %q", got)
	}
	if got := string(h[0].Value); got != " a;\n b" {
		t.Errorf("got value %q", got)
	}
	var all strings.Builder
	for _, f := range h {
		all.Write(f.Raw)
	}
	if got, want := all.String(), raw[:strings.Index(raw, "\n\n")+1]; got != want {
		t.Errorf("the raw fields are %q, want the whole header %q", got, want)
	}
}

func TestHeaderText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"Subject: plain", "plain"},
		{"Subject: gr\xC3\xBC\xC3\x9Fe", "grüße"},
		{"Subject: gr\xFC\xDFe", "grüße"},
		{"Subject: \xEF\xF0\xE8\xE2\xE5\xF2\nContent-Type: text/plain; charset=windows-1251", "привет"},
		{"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=", "grüße"},
		{"Subject: a\x00b", "a\uFFFDb"},
	} {
		h := Read([]byte(c.in+"\n\n"), Limits{}).Root.Header
		if got := h.Text("subject"); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	lim := Limits{HeaderOctets: 1000, HeaderFields: 10}
	long := "Subject: " + strings.Repeat("x", 5000)
	for name, in := range map[string]string{
		"long field":    long + "\nContent-Type: text/html\nX-A: b\n\nbody",
		"folded field":  "Subject: x\n" + strings.Repeat(" folded\n", 500) + "Content-Type: text/html\n\nbody",
		"many fields":   strings.Repeat("X-A: b\n", 50) + "Content-Type: text/html\n\nbody",
		"many of those": strings.Repeat("Content-Type: text/html\n", 500) + "\nbody",
	} {
		m := Read([]byte(in), lim)
		kept := 0
		for _, f := range m.Root.Header {
			kept += len(f.Raw)
		}
		if kept > 2*lim.HeaderOctets || len(m.Root.Header) > lim.HeaderFields+4 {
			t.Errorf("%s: got %d octets in %d fields", name, kept, len(m.Root.Header))
		}
		if got := shape(m); got != "text/html[body]" {
			t.Errorf("%s: got %q, want what the body is and where it starts", name, got)
		}
		if !m.Has(DefectHeaderLimit) {
			t.Errorf("%s: got defects %q", name, codes(m))
		}
	}
}
