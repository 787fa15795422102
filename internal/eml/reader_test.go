package eml

import (
	"slices"
	"strings"
	"testing"
)

// crlf returns s with its line ends made CRLF.
func crlf(s string) []byte {
	return []byte(strings.ReplaceAll(s, "\n", "\r\n"))
}

// shape writes the parts of a message in one line: media type, body in brackets for leaves.
func shape(m *Message) string {
	return shapeOf(m, m.Root)
}

func shapeOf(m *Message, p *Part) string {
	if !p.IsMultipart() {
		return p.MediaType + "[" + strings.ReplaceAll(string(m.Encoded(p)), "\r\n", "\n") + "]"
	}
	children := make([]string, len(p.Children))
	for i, child := range p.Children {
		children[i] = shapeOf(m, child)
	}
	return p.MediaType + "(" + strings.Join(children, " ") + ")"
}

// codes returns the codes of the defects of a message.
func codes(m *Message) []string {
	list := []string{}
	for _, d := range m.Defects {
		list = append(list, d.Code)
	}
	return list
}

const head = "From: Ann <ann@a.example>\nSubject: hi\n"

func TestReadStructure(t *testing.T) {
	t.Parallel()
	mixed := head + "Content-Type: multipart/mixed; boundary=B\n\n"
	for _, c := range []struct {
		name, in, want string
		defects        []string
	}{
		{"plain", head + "\nbody\n", "text/plain[body\n]", nil},
		{"empty body", head + "\n", "text/plain[]", nil},
		{"header only", head, "text/plain[]", nil},
		{
			"multipart", mixed + "pre\n--B\n\none\n--B\nContent-Type: text/html\n\ntwo\n\n--B--\npost\n",
			"multipart/mixed(text/plain[one] text/html[two\n])", nil,
		},
		{"blank after boundary", mixed + "--B \t\n\none\n--B-- \n", "multipart/mixed(text/plain[one])", nil},
		{"text after boundary", mixed + "--B part one\n\none\n--B-- the end\n", "multipart/mixed(text/plain[one])", nil},
		{"longer boundary is another", mixed + "--B\n\none\n--B2\ntwo\n--B--\n", "multipart/mixed(text/plain[one\n--B2\ntwo])", nil},
		{"empty part", mixed + "--B\n--B\n\ntwo\n--B--\n", "multipart/mixed(text/plain[] text/plain[two])", nil},
		{"header without body", mixed + "--B\nContent-Type: text/html\n--B--\n", "multipart/mixed(text/html[])", nil},
		{
			"nested", mixed + "--B\nContent-Type: multipart/alternative; boundary=\"C C\"\n\n--C C\n\nx\n--C C\nContent-Type: text/html\n\ny\n--C C--\n\n--B\n\nz\n--B--\n",
			"multipart/mixed(multipart/alternative(text/plain[x] text/html[y]) text/plain[z])", nil,
		},
		{
			"message not entered", mixed + "--B\nContent-Type: message/rfc822\n\nFrom: b\nContent-Type: multipart/mixed; boundary=Z\n\n--Z\n\nin\n--Z--\n--B--\n",
			"multipart/mixed(message/rfc822[From: b\nContent-Type: multipart/mixed; boundary=Z\n\n--Z\n\nin\n--Z--])", nil,
		},
		{"message at the top", head + "Content-Type: message/rfc822\n\nFrom: b\n\nin\n", "message/rfc822[From: b\n\nin\n]", nil},
		{
			"global at the top", head + "Content-Type: message/global\nContent-Transfer-Encoding: base64\n\nRnJvbQ==\n",
			"message/global[RnJvbQ==\n]", nil,
		},
		{
			"digest", head + "Content-Type: multipart/digest; boundary=B\n\n--B\n\nFrom: b\n\nin\n--B\nContent-Type: text/plain\n\nx\n--B--\n",
			"multipart/digest(message/rfc822[From: b\n\nin] text/plain[x])", nil,
		},

		{"no close", mixed + "--B\n\none\n--B\n\ntwo\n", "multipart/mixed(text/plain[one] text/plain[two\n])", []string{DefectNoClose}},
		{
			"inner not closed", mixed + "--B\nContent-Type: multipart/related; boundary=C\n\n--C\n\nx\n--B\n\ny\n--B--\n",
			"multipart/mixed(multipart/related(text/plain[x]) text/plain[y])",
			[]string{DefectNoClose},
		},
		{"start never found", mixed + "text\nmore\n", "text/plain[text\nmore\n]", []string{DefectNoStart}},
		{"only the close", mixed + "text\n--B--\n", "text/plain[text\n--B--\n]", []string{DefectNoStart}},
		{"no boundary parameter", head + "Content-Type: multipart/mixed\n\ntext\n", "text/plain[text\n]", []string{DefectNoBoundary}},
		{
			"guessed without parameter", head + "Content-Type: multipart/mixed\n\n--X=1\n\none\n--X=1\nContent-Type: text/html\n\ntwo\n--X=1--\n",
			"multipart/mixed(text/plain[one] text/html[two])",
			[]string{DefectNoBoundary, DefectBoundaryGuessed},
		},
		{
			"guessed instead of another", mixed + "--X=1\n\none\n--X=1--\n", "multipart/mixed(text/plain[one])",
			[]string{DefectNoStart, DefectBoundaryGuessed},
		},
		{"a rule is no boundary", mixed + "-----\n\none\n-----\n\n", "text/plain[-----\n\none\n-----\n\n]", []string{DefectNoStart}},
		{"a line that occurs once is no boundary", mixed + "--X=1\n\none\n", "text/plain[--X=1\n\none\n]", []string{DefectNoStart}},
		{
			"collision with a message", mixed + "--B\n\nnote\n--B\nContent-Type: message/rfc822\n\nFrom: b\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\nin\n--B--\n--B--\n",
			"multipart/mixed(text/plain[note] message/rfc822[From: b\nContent-Type: multipart/mixed; boundary=B\n] text/plain[in])",
			[]string{DefectCollision},
		},
		{
			"collision of multiparts", mixed + "--B\nContent-Type: multipart/alternative; boundary=B\n\n--B\n\nx\n--B--\n--B--\n",
			"multipart/mixed(multipart/alternative(text/plain[x]))",
			[]string{DefectCollision},
		},
		{"parts after the close are epilogue", mixed + "--B\n\none\n--B--\n--B\n\ntwo\n--B--\n", "multipart/mixed(text/plain[one])", nil},
		{
			"part without header", mixed + "--B\nHello there\nmore\n--B--\n", "multipart/mixed(text/plain[Hello there\nmore])",
			[]string{DefectNoSeparator},
		},
		{"partial", head + "Content-Type: message/partial; number=1\n\nx", "message/partial[x]", []string{DefectPartialMessage}},
		{"external", head + "Content-Type: message/external-body; access-type=x\n\nx", "message/external-body[x]", []string{DefectExternalBody}},
	} {
		for style, in := range map[string][]byte{"LF": []byte(c.in), "CRLF": crlf(c.in)} {
			m := Read(in, Limits{})
			checkSpans(t, c.name, m)
			if got := shape(m); got != c.want {
				t.Errorf("%s (%s):\n got %q\nwant %q", c.name, style, got, c.want)
			}
			if got := codes(m); !slices.Equal(got, list(c.defects)) {
				t.Errorf("%s (%s): got defects %q, want %q", c.name, style, got, c.defects)
			}
		}
	}
}

func TestReadLead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		defect   string
	}{
		{"mbox line", "From ann@a.example Sat Jan  1 00:00:00 2022\n", DefectMboxFrom},
		{"quoted mbox line", ">From ann@a.example Sat Jan  1 00:00:00 2022\n", DefectMboxFrom},
		{"byte order mark", "\xEF\xBB\xBF", DefectByteOrderMark},
		{"blank lines", "\n\n", DefectLeadingBlank},
		{"indented line", "  lost\n", DefectBadHeaderLine},
	} {
		m := Read([]byte(c.in+head+"\nbody\n"), Limits{})
		if got := m.Root.Header.Get("Subject"); got != "hi" {
			t.Errorf("%s: got subject %q, want hi", c.name, got)
		}
		if got := shape(m); got != "text/plain[body\n]" {
			t.Errorf("%s: got %q", c.name, got)
		}
		if !m.Has(c.defect) {
			t.Errorf("%s: got defects %q, want %q", c.name, codes(m), c.defect)
		}
	}
}

func TestReadNoMessage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, defect string }{
		{"nothing", "", "text/plain[]", DefectEmpty},
		{"text alone", "Dear all,\n\nbye\n", "text/plain[Dear all,\n\nbye\n]", DefectNoHeader},
		{"a sentence that begins as an mbox line", "From here on\nit goes.\n", "text/plain[From here on\nit goes.\n]", DefectNoHeader},
		{"blank lines and text", "\n\ntext\n", "text/plain[\ntext\n]", DefectNoHeader},
		{"NUL", "\x00\x00", "text/plain[\x00\x00]", DefectNoHeader},
		{"an address", "http://a.example/\n\nx", "text/plain[http://a.example/\n\nx]", DefectNoHeader},
	} {
		m := Read([]byte(c.in), Limits{})
		if got := shape(m); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if !m.Has(c.defect) {
			t.Errorf("%s: got defects %q, want %q", c.name, codes(m), c.defect)
		}
	}
}

func TestReadBareCR(t *testing.T) {
	t.Parallel()
	all := strings.ReplaceAll(head+"Content-Type: multipart/mixed; boundary=B\n\n--B\n\none\n--B\n\ntwo\n--B--\n", "\n", "\r")
	m := Read([]byte(all), Limits{})
	if got, want := shape(m), "multipart/mixed(text/plain[one] text/plain[two])"; got != want {
		t.Errorf("CR everywhere: got %q, want %q", got, want)
	}
	if !m.Has(DefectBareCR) {
		t.Errorf("CR everywhere: got defects %q", codes(m))
	}
	m = Read([]byte("From: a@b.example\rSubject: hi\r\rline one\nline two\n"), Limits{})
	if got, want := shape(m), "text/plain[line one\nline two\n]"; got != want {
		t.Errorf("CR in the header: got %q, want %q", got, want)
	}
	m = Read([]byte("From: a@b.example\r\nSubject: a\rb\r\n\r\nx\r\n"), Limits{})
	if got := m.Root.Header.Get("Subject"); got != "a b" || m.Has(DefectBareCR) {
		t.Errorf("CR inside a line: got subject %q, defects %q", got, codes(m))
	}
}

func TestReadPaths(t *testing.T) {
	t.Parallel()
	m := Read(crlf(head+"Content-Type: multipart/mixed; boundary=B\n\npre\n--B\nContent-Type: multipart/mixed; boundary=C\n\n--C\n\nx\n--C\n\ny\n--C--\n--B\n\nz\n--B--\npost\n"), Limits{})
	var paths []string
	for p := range m.Walk() {
		paths = append(paths, p.Path)
	}
	if want := []string{"", "1", "1.1", "1.2", "2"}; !slices.Equal(paths, want) {
		t.Errorf("got paths %q, want %q", paths, want)
	}
	for range m.Walk() {
		break // must be able to stop
	}
	if got := string(m.octets(m.Root.Preamble)); got != "pre" {
		t.Errorf("got preamble %q, want pre", got)
	}
	if got := string(m.octets(m.Root.Epilogue)); got != "post\r\n" {
		t.Errorf("got epilogue %q, want post", got)
	}
	if !m.Root.Closed || !m.Root.Children[0].Closed {
		t.Error("got multiparts that are not closed")
	}
}

// TestReadKeepsOctets checks that a message part is exactly the octets that were put in.
func TestReadKeepsOctets(t *testing.T) {
	t.Parallel()
	for _, inner := range []string{
		"From: b@b.example\n\nbody", "From: b@b.example\r\n\r\nbody\r\n", "From: b\r\n\r\n--B2\r\n.\n..\r\n \r\n", "a:\n\n\n",
		"Subject: \xFF\x00\r\n\r\n\x00\xFF", "From x\nFrom: y\n\n-- \n",
	} {
		for _, eol := range []string{"\n", "\r\n"} {
			raw := strings.ReplaceAll("Content-Type: multipart/mixed; boundary=B\n\n--B\n\nnote\n--B\nContent-Type: message/rfc822\n\n", "\n", eol) +
				inner + eol + "--B--" + eol
			m := Read([]byte(raw), Limits{})
			if len(m.Root.Children) != 2 {
				t.Errorf("%q: got %d parts, want 2", raw, len(m.Root.Children))
				continue
			}
			if got := string(m.Encoded(m.Root.Children[1])); got != inner {
				t.Errorf("got %q, want %q", got, inner)
			}
		}
	}
}
