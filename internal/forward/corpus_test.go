package forward

import (
	"bytes"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/mailtest"
)

// disagreements are files whose label this package does not follow, and why.
var disagreements = map[string]string{
	"mailgun/flanker/tests/fixtures/messages/enclosed-broken.eml": "neither the wrapper nor the original has a closing boundary: parts of the original may be missing",
}

// TestCorpus holds classification and unwrapping against real messages.
func TestCorpus(t *testing.T) {
	t.Parallel()
	counts := make(map[string]int)
	samples := mailtest.Corpus(t)
	if len(samples) == 0 {
		t.Skip("no corpus of real messages")
	}
	for _, s := range samples {
		if s.Kind == "msg-ole" || s.Kind == "tnef" {
			continue
		}
		m := eml.Read(s.Octets, eml.DefaultLimits())
		class := classify.Classify(m)
		counts[s.Label+" → "+string(class.Class)]++
		var u Unwrapped
		if class.Class == classify.Wrapper {
			var err error
			if u, err = Unwrap(m, ""); err != nil {
				t.Errorf("%s: Unwrap: %v", s.Name, err)
				continue
			}
			counts["originals"] += len(u.Originals)
			checkExact(t, s.Name, m, u)
		}
		why := disagrees(s.Label, class, u)
		switch known := disagreements[s.Name]; {
		case why != "" && known != "":
			t.Logf("%s: %s; known: %s", s.Name, why, known)
		case why == "" && known != "":
			t.Errorf("%s: agrees with its label now, take it from the table", s.Name)
		case why != "":
			t.Errorf("%s: %s; class %s (%s), %d originals, defect %q", s.Name, why, class.Class, class.Reason, len(u.Originals), u.Defect)
		}
		if err := u.Close(); err != nil {
			t.Errorf("%s: close: %v", s.Name, err)
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
