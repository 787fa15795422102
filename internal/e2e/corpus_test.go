package e2e

import (
	"bytes"
	"encoding/csv"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a real message, or a file that is none.
type sample struct {
	name, label string
	octets      []byte
}

// corpus returns the real messages of POSTROOM_CORPUS, else of the folder beside the repository. Without them it
// returns none, but fails where the environment says CI=true.
func corpus(t *testing.T) []sample {
	t.Helper()
	dir := os.Getenv("POSTROOM_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	f, err := os.Open(filepath.Join(dir, "LABELS.tsv"))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the corpus of real messages is missing: %v", err)
		}
		t.Logf("no corpus of real messages: %v", err)
		return nil
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes = '\t', true
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var samples []sample
	for _, row := range rows[1:] {
		name := filepath.Join(strings.ReplaceAll(row[0], "/", "+"), row[1])
		octets, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, sample{name: name, label: row[2], octets: octets})
	}
	return samples
}

// crlf returns octets with every line end as a mail server shows it.
func crlf(octets []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(octets, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}

// forwardable reports whether a sample can be put into any wrapper so that a server hands it out as it was put in: a
// whole message with the fields that every mail has, without octets or line ends that servers change.
func (s *sample) forwardable() bool {
	m, err := mail.ReadMessage(bytes.NewReader(s.octets))
	if err != nil || s.label != "ordinary" || len(s.octets) > 200<<10 {
		return false
	}
	for _, name := range []string{"From", "Date", "Subject"} {
		if len(m.Header[name]) != 1 {
			return false
		}
	}
	octets := crlf(s.octets)
	return bytes.HasSuffix(octets, []byte("\r\n")) && bytes.IndexByte(octets, 0) < 0 &&
		!bytes.Contains(bytes.ReplaceAll(octets, []byte("\r\n"), nil), []byte("\r"))
}
