package forward

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/eml"
)

// disagreements are files whose label this package does not follow, and why.
var disagreements = map[string]string{
	"mailgun/flanker/tests/fixtures/messages/enclosed-broken.eml": "neither the wrapper nor the original has a closing boundary: parts of the original may be missing",
}

type sample struct {
	name, label string
	octets      []byte
}

// corpus reads the real messages that stand beside the repository or where POSTROOM_CORPUS says.
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
		t.Skipf("no corpus of real messages: %v", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes = '\t', true
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var samples []sample
	for _, row := range rows[1:] {
		if kind := row[3]; kind == "msg-ole" || kind == "tnef" {
			continue
		}
		octets, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(row[0], "/", "+"), row[1]))
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, sample{name: row[0] + "/" + row[1], label: row[2], octets: octets})
	}
	return samples
}

// TestCorpus holds classification and unwrapping against real messages.
func TestCorpus(t *testing.T) {
	t.Parallel()
	counts := make(map[string]int)
	for _, s := range corpus(t) {
		m := eml.Read(s.octets, eml.DefaultLimits())
		class := classify.Classify(m)
		counts[s.label+" → "+string(class.Class)]++
		var u Unwrapped
		if class.Class == classify.Wrapper {
			var err error
			if u, err = Unwrap(m, ""); err != nil {
				t.Errorf("%s: Unwrap: %v", s.name, err)
				continue
			}
			counts["originals"] += len(u.Originals)
			checkExact(t, s.name, m, u)
		}
		why := disagrees(s.label, class, u)
		switch known := disagreements[s.name]; {
		case why != "" && known != "":
			t.Logf("%s: %s; known: %s", s.name, why, known)
		case why == "" && known != "":
			t.Errorf("%s: agrees with its label now, take it from the table", s.name)
		case why != "":
			t.Errorf("%s: %s; class %s (%s), %d originals, defect %q", s.name, why, class.Class, class.Reason, len(u.Originals), u.Defect)
		}
		if err := u.Close(); err != nil {
			t.Errorf("%s: close: %v", s.name, err)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%5d %s", counts[k], k)
	}
}

// disagrees says what is wrong with what was found in a message of this label, or "".
func disagrees(label string, class classify.Result, u Unwrapped) string {
	switch label {
	case "dsn", "arf", "mdn", "digest":
		if string(class.Class) != label {
			return "labelled " + label
		}
	case "wrapper-single", "wrapper-bare", "eml-attachment-other-type":
		if len(u.Originals) != 1 {
			return "labelled " + label + ", want one original"
		}
	case "wrapper-multi:2":
		if len(u.Originals) != 2 {
			return "want 2 originals"
		}
	case "wrapper-multi:8":
		if len(u.Originals) != 8 {
			return "want 8 originals"
		}
	case "ordinary":
		if class.Class == classify.Wrapper && u.Defect == "" {
			return "labelled ordinary, want no wrapper"
		}
	}
	return ""
}

// checkExact holds each original against the file, by other means than those that found it.
func checkExact(t *testing.T, name string, m *eml.Message, u Unwrapped) {
	t.Helper()
	for _, o := range u.Originals {
		got := o.Bytes(m)
		if o.Raw != nil {
			if o.Encoding == "base64" && !holdsBase64(m.Octets, got) {
				t.Errorf("%s: original %d is not what its base64 says", name, o.Ordinal)
			}
			continue
		}
		before, after := m.Octets[:o.Offset], m.Octets[o.Offset+o.Octets:]
		if !bytes.HasSuffix(bytes.ReplaceAll(before, []byte("\r"), nil), []byte("\n\n")) {
			t.Errorf("%s: original %d does not begin after a blank line", name, o.Ordinal)
		}
		rest := bytes.TrimPrefix(bytes.TrimPrefix(after, []byte("\r")), []byte("\n"))
		if len(after) > 0 && !bytes.HasPrefix(rest, []byte("--")) {
			t.Errorf("%s: original %d does not end before a boundary but before %.20q", name, o.Ordinal, after)
		}
	}
}

// holdsBase64 reports whether wrapper holds want in base64, whatever the length of its lines.
func holdsBase64(wrapper, want []byte) bool {
	plain := strings.NewReplacer("\r", "", "\n", "").Replace(string(wrapper))
	return strings.Contains(plain, strings.TrimRight(base64.StdEncoding.EncodeToString(want), "="))
}
