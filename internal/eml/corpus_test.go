package eml

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postroom/postroom/internal/mailtest"
)

// corpusDir returns the folder of real messages, and skips the test where there is none.
func corpusDir(t *testing.T) string {
	t.Helper()
	dir, ok := mailtest.CorpusDir(t)
	if !ok {
		t.Skip("no corpus of real messages")
	}
	return dir
}

// TestCorpus reads every file of the corpus, messages and others, and checks what holds for any octets.
func TestCorpus(t *testing.T) {
	t.Parallel()
	n := 0
	err := filepath.WalkDir(corpusDir(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		octets, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		checkSound(t, path, octets)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 500 {
		t.Errorf("got %d files in the corpus, want at least 500", n)
	}
}

// checkSound checks what must hold for any octets.
func checkSound(t *testing.T, name string, octets []byte) {
	t.Helper()
	m := Read(octets, Limits{})
	checkSpans(t, name, m)
	v := m.View()
	for what, s := range map[string]string{
		"subject": v.Subject, "text": v.Text, "html": v.HTML, "message id": v.MessageID, "date": v.DateRaw,
	} {
		checkText(t, name, what, s)
	}
	for _, list := range [][]Address{v.From, v.To, v.Cc, v.Bcc, v.ReplyTo} {
		for _, a := range list {
			checkText(t, name, "address", a.Address)
			checkText(t, name, "name", a.Name)
		}
	}
	for _, a := range v.Attachments {
		checkText(t, name, "file name", a.Filename)
		decoded, err := io.Copy(io.Discard, DecodeSpan(octets[a.Offset:a.Offset+a.Length], a.Encoding))
		if err != nil || decoded != a.Octets {
			t.Errorf("%s: attachment %s: got %d octets (%v), want %d", name, a.Path, decoded, err, a.Octets)
		}
	}
	if _, err := json.Marshal(v); err != nil {
		t.Errorf("%s: the view cannot be written as JSON: %v", name, err)
	}
}

// checkSpans checks that every part lies in its message, children in their parents and one after the other.
func checkSpans(t *testing.T, name string, m *Message) {
	t.Helper()
	if m.Root == nil {
		t.Fatalf("%s: got no root", name)
	}
	for p := range m.Walk() {
		end := p.BodyOffset + p.BodyLength
		if p.Offset < 0 || p.BodyOffset < p.Offset || p.BodyLength < 0 || end > int64(len(m.Octets)) {
			t.Fatalf("%s: part %q: got header at %d, body %d+%d in %d octets", name, p.Path, p.Offset, p.BodyOffset,
				p.BodyLength, len(m.Octets))
		}
		at := p.BodyOffset
		for _, child := range p.Children {
			if child.Offset < at || child.BodyOffset+child.BodyLength > end {
				t.Fatalf("%s: part %q at %d to %d is not within its parent, %d to %d", name, child.Path, child.Offset,
					child.BodyOffset+child.BodyLength, at, end)
			}
			at = child.BodyOffset + child.BodyLength
		}
		for _, s := range []Span{p.Preamble, p.Epilogue} {
			if s.Length < 0 || (s.Length > 0 && (s.Offset < p.BodyOffset || s.Offset+s.Length > end)) {
				t.Fatalf("%s: part %q: got preamble or epilogue %+v in %d to %d", name, p.Path, s, p.BodyOffset, end)
			}
		}
		for _, f := range p.Header {
			if len(f.Value) > len(f.Raw) {
				t.Fatalf("%s: part %q: field %q has a value longer than itself", name, p.Path, f.Name)
			}
		}
	}
}

func checkText(t *testing.T, name, what, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%s: %s is not valid UTF-8: %q", name, what, s)
	}
	for i := range len(s) {
		if s[i] == 0 {
			t.Errorf("%s: %s holds NUL: %q", name, what, s)
			return
		}
	}
}

// TestCorpusStructure compares the structure that the corpus' manifest gives for each message, found by another parser.
// The two need not agree on what is malformed; they must on nearly all.
func TestCorpusStructure(t *testing.T) {
	t.Parallel()
	dir := corpusDir(t)
	manifest, err := os.ReadFile(filepath.Join(dir, "MANIFEST.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	same, all := 0, 0
	for line := range strings.Lines(string(manifest)) {
		var entry struct {
			Repo, Path, Kind string
			Tree             []string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Kind != "msg" || len(entry.Tree) != 1 {
			continue
		}
		octets, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(entry.Repo, "/", "+"), entry.Path))
		if err != nil {
			t.Fatal(err)
		}
		all++
		m := Read(octets, Limits{})
		got, want := typesOf(m.Root), withoutInner(entry.Tree[0])
		cut := len(entry.Tree[0]) >= 100 // long ones are cut in the manifest
		if got == want || (cut && strings.HasPrefix(got, want)) {
			same++
		} else {
			t.Logf("%s: got %s, the manifest has %s, defects %q", entry.Path, got, want, codes(m))
		}
	}
	if all < 400 || same < all*93/100 {
		t.Errorf("got %d of %d structures as in the manifest, want at least 93 %% of at least 400", same, all)
	}
}

// typesOf writes the media types of a part and of those below it.
func typesOf(p *Part) string {
	if !p.IsMultipart() {
		return p.MediaType
	}
	children := make([]string, len(p.Children))
	for i, child := range p.Children {
		children[i] = typesOf(child)
	}
	return p.MediaType + "(" + strings.Join(children, ",") + ")"
}

// withoutInner drops what the manifest says is inside message parts, which are not entered.
func withoutInner(tree string) string {
	message := regexp.MustCompile(`message/[a-z0-9-]+\(`)
	for {
		at := message.FindStringIndex(tree)
		if at == nil {
			return tree
		}
		depth, end := 0, at[1]-1
		for end < len(tree) {
			switch tree[end] {
			case '(':
				depth++
			case ')':
				depth--
			}
			end++
			if depth == 0 {
				break
			}
		}
		tree = tree[:at[1]-1] + tree[end:]
	}
}
