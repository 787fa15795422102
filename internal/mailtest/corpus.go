package mailtest

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Sample is one file of the corpus of real messages.
type Sample struct {
	Name   string // repository/path
	Label  string // ordinary, wrapper-single, dsn, …
	Kind   string // eml, msg-ole, tnef, …
	Octets []byte
}

// CorpusDir returns the folder of real messages: POSTROOM_CORPUS, else shared/corpus beside the repository, seen from a
// package right below internal. ok is false where there is none; where the environment says CI=true that fails the test.
func CorpusDir(tb testing.TB) (dir string, ok bool) {
	tb.Helper()
	if dir = os.Getenv("POSTROOM_CORPUS"); dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(filepath.Join(dir, "LABELS.tsv")); err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("the corpus of real messages is missing: %v", err)
		}
		tb.Logf("no corpus of real messages at %s: set POSTROOM_CORPUS", dir)
		return "", false
	}
	return dir, true
}

// Corpus returns the labelled files of the corpus; none where there is no corpus, see CorpusDir.
func Corpus(tb testing.TB) []Sample {
	tb.Helper()
	dir, ok := CorpusDir(tb)
	if !ok {
		return nil
	}
	f, err := os.Open(filepath.Join(dir, "LABELS.tsv"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes = '\t', true
	rows, err := r.ReadAll()
	if err != nil {
		tb.Fatal(err)
	}
	samples := make([]Sample, 0, len(rows))
	for _, row := range rows[1:] {
		octets, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(row[0], "/", "+"), row[1]))
		if err != nil {
			tb.Fatal(err)
		}
		samples = append(samples, Sample{Name: row[0] + "/" + row[1], Label: row[2], Kind: row[3], Octets: octets})
	}
	return samples
}
