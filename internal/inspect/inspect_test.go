package inspect

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/trace"
)

const (
	customer = "From: Kim <kim@client.example>\r\nTo: alice@corp.example\r\nSubject: An order\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\n" +
		"Message-ID: <1@client.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n" +
		"--in\r\nContent-Type: text/plain\r\n\r\nTwo \x1b[31mchairs.\r\n--in\r\nContent-Type: application/pdf\r\n" +
		"Content-Disposition: attachment; filename=order.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--in--\r\n"
	outer = "From: Alice <alice@corp.example>\r\nTo: forward@corp.example\r\nSubject: FW: An order\r\nMIME-Version: 1.0\r\n"
)

func wrapped(boundary string, fields string, originals ...string) []byte {
	var b strings.Builder
	b.WriteString(fields + outer + "Content-Type: multipart/mixed; boundary=" + boundary + "\r\n\r\n--" + boundary + "\r\n\r\nnote\r\n")
	for _, o := range originals {
		b.WriteString("--" + boundary + "\r\nContent-Type: message/rfc822\r\n\r\n" + o + "\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return []byte(b.String())
}

func digestOf(octets []byte) string {
	sum := sha256.Sum256(octets)
	return hex.EncodeToString(sum[:])
}

// decoded returns the JSON form of o as a map.
func decoded(t *testing.T, o Object) map[string]any {
	t.Helper()
	octets, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsRune(octets, '\n') {
		t.Error("the object is not one line")
	}
	var m map[string]any
	if err := json.Unmarshal(octets, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestWrapper wants the contract of the JSON object held, key by key.
func TestWrapper(t *testing.T) {
	t.Parallel()
	octets := wrapped("b", "", customer)
	o := decoded(t, Octets("a.eml", octets, false))
	for key, want := range map[string]any{
		"file": "a.eml", "sha256": digestOf(octets), "octets": float64(len(octets)), "class": "wrapper",
		"reason": "holds a message as message/rfc822",
	} {
		if o[key] != want {
			t.Errorf("%s = %v, want %v", key, o[key], want)
		}
	}
	original := o["originals"].([]any)[0].(map[string]any)
	for key, want := range map[string]any{"sha256": digestOf([]byte(customer)), "octets": float64(len(customer)), "path": "2", "encoding": "7bit"} {
		if original[key] != want {
			t.Errorf("original's %s = %v, want %v", key, original[key], want)
		}
	}
	if got := o["outer"].(map[string]any)["subject"]; got != "FW: An order" {
		t.Errorf("outer subject %v, want the wrapper's", got)
	}
	message := o["message"].(map[string]any)
	for key, want := range map[string]any{"subject": "An order", "message_id": "1@client.example", "date": "2026-11-02T10:00:00+01:00"} {
		if message[key] != want {
			t.Errorf("message's %s = %v, want %v", key, message[key], want)
		}
	}
	attachment := message["attachments"].([]any)[0].(map[string]any)
	if attachment["sha256"] != digestOf([]byte("hello")) || attachment["filename"] != "order.pdf" {
		t.Errorf("attachment %v, want order.pdf with the digest of its octets", attachment)
	}
	for _, key := range []string{"in_reply_to", "references", "from", "sender", "reply_to", "to", "cc", "bcc", "text", "html", "defects"} {
		if _, ok := message[key]; !ok {
			t.Errorf("message has no %s", key)
		}
	}
	checkTrace(t, o, "read", "class", "original")
}

func checkTrace(t *testing.T, o map[string]any, codes ...string) {
	t.Helper()
	var got []string
	for _, s := range o["trace"].([]any) {
		step := s.(map[string]any)
		got = append(got, step["code"].(string))
		if !trace.Known(trace.Code(step["code"].(string))) || step["text"] == "" || step["stage"] == "" {
			t.Errorf("step %v: want a known code, a stage and a text", step)
		}
	}
	if !slices.Equal(got, codes) {
		t.Errorf("trace %v, want %v", got, codes)
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	collision := wrapped("in", "", customer)
	tests := []struct {
		name      string
		octets    []byte
		asUser    bool
		class     classify.Class
		originals int
		outer     bool
		subject   string // of message
		defect    string
	}{
		{"ordinary", []byte(customer), false, classify.Ordinary, 0, false, "An order", ""},
		{"wrapper", wrapped("b", "", customer), false, classify.Wrapper, 1, true, "An order", ""},
		{"wrapper as a user's mail", wrapped("b", "", customer), true, classify.Ordinary, 0, false, "FW: An order", ""},
		{"two originals", wrapped("b", "", customer, customer), false, classify.Wrapper, 2, true, "FW: An order", ""},
		{"journal", wrapped("b", "X-MS-Journal-Report:\r\n", customer), false, classify.Journal, 1, true, "An order", ""},
		{"journal as a user's mail", wrapped("b", "X-MS-Journal-Report:\r\n", customer), true, classify.Journal, 0, false, "FW: An order", ""},
		{"list", wrapped("b", "List-Id: <l.example>\r\n", customer), false, classify.List, 0, false, "FW: An order", ""},
		{"report", wrapped("b", "X-Failed-Recipients: a@b.example\r\n", customer), false, classify.DSN, 0, false, "FW: An order", ""},
		{"collision", collision, false, classify.Wrapper, 0, true, "FW: An order", "boundary_collision"},
		{"truncated", wrapped("b", "", customer)[:500], false, classify.Wrapper, 0, true, "FW: An order", "truncated"},
		{"sealed", []byte(outer + "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nAAAA"), false, classify.Wrapper, 0, true, "FW: An order", "encrypted"},
		{"empty", nil, false, classify.Unreadable, 0, false, "", ""},
		{"empty as a user's mail", nil, true, classify.Unreadable, 0, false, "", ""},
		{"rubbish", []byte("\x00\xff\x00"), false, classify.Ordinary, 0, false, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := Octets(tt.name, tt.octets, tt.asUser)
			if o.Class != tt.class || len(o.Originals) != tt.originals || (o.Outer != nil) != tt.outer {
				t.Errorf("class %s (%s), %d originals, outer %v, want %s, %d, %v", o.Class, o.Reason, len(o.Originals), o.Outer != nil, tt.class, tt.originals, tt.outer)
			}
			if o.Message.Subject != tt.subject {
				t.Errorf("message's subject %q, want %q", o.Message.Subject, tt.subject)
			}
			if string(o.Defect) != tt.defect || (tt.defect != "" && !slices.Contains(o.Message.Defects, tt.defect)) {
				t.Errorf("defect %q, message's %v, want %q in both", o.Defect, o.Message.Defects, tt.defect)
			}
			m := decoded(t, o)
			if m["originals"] == nil || m["trace"] == nil || m["message"] == nil {
				t.Errorf("null in %v", m)
			}
			lists(t, m)
		})
	}
}

// lists fails where a list of the contract is null.
func lists(t *testing.T, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			switch key {
			case "references", "from", "reply_to", "to", "cc", "bcc", "attachments", "defects", "originals", "trace":
				if _, ok := value.([]any); !ok {
					t.Errorf("%s is %v, want a list", key, value)
				}
			}
			lists(t, value)
		}
	case []any:
		for _, value := range v {
			lists(t, value)
		}
	}
}

// TestEncodedOriginal wants the view of a long encoded original to outlive its octets.
func TestEncodedOriginal(t *testing.T) {
	t.Parallel()
	head, _, _ := strings.Cut(customer, "MIME-Version")
	original := head + "\r\n" + strings.Repeat("a line of text\r\n", 100_000)
	text := base64.StdEncoding.EncodeToString([]byte(original))
	octets := []byte(outer + "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + text + "\r\n")
	o := Octets("long.eml", octets, false)
	if len(o.Originals) != 1 || o.Originals[0].SHA256 != digestOf([]byte(original)) || o.Originals[0].Encoding != "base64" {
		t.Fatalf("got %d originals, defect %q, want the encoded one", len(o.Originals), o.Defect)
	}
	if want := 100_000; strings.Count(o.Message.Text, "a line of text\n") < want-1 || o.Message.Subject != "An order" {
		t.Errorf("subject %q and %d octets of text, want all of the original", o.Message.Subject, len(o.Message.Text))
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		octets []byte
		want   []string
	}{
		{"wrapper", wrapped("b", "", customer), []string{
			"x.eml: wrapper (holds a message as message/rfc822)", "outer message", "Subject     FW: An order", "original 1: part 2, 7bit",
			"From        Kim <kim@client.example>", "Date        Mon, 02 Nov 2026 10:00:00 +0100", `Attachment  2 "order.pdf", application/pdf, 5 octets`, "│ Two \uFFFD[31mchairs.", "trace", "unwrap",
		}},
		{"ordinary", []byte(customer), []string{"x.eml: ordinary", "  message\n", "│ Two"}},
		{"must not be cut", wrapped("in", "", customer), []string{"must not be cut: boundary_collision", "Defects "}},
		{"long text", []byte("From: a@b.example\r\nSubject: a\u202Eb\r\n\r\n" + strings.Repeat("line\r\n", 50)), []string{"… 38 more lines", "Subject     a\uFFFDb"}},
		{"empty", nil, []string{"x.eml: unreadable (no octets), 0 octets"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			if err := Octets("x.eml", tt.octets, false).Print(&b); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("lacks %q:\n%s", want, b.String())
				}
			}
			if strings.ContainsRune(b.String(), '\x1b') {
				t.Error("prints an escape character of the sender's")
			}
		})
	}
}

// TestPrintError wants the writer's error.
func TestPrintError(t *testing.T) {
	t.Parallel()
	if err := Octets("x.eml", []byte(customer), false).Print(full{}); err == nil {
		t.Error("no error from a writer that fails")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, eofError{} }

type eofError struct{}

func (eofError) Error() string { return "no space" }

// FuzzOctets wants an object that can be marshalled and printed, and originals within the file, for any octets.
func FuzzOctets(f *testing.F) {
	f.Add([]byte(customer), true)
	f.Add(wrapped("b", "", customer), false)
	f.Add(wrapped("in", "X-MS-Journal-Report:\r\n", customer, customer), false)
	f.Fuzz(func(t *testing.T, octets []byte, asUser bool) {
		o := Octets("f", octets, asUser)
		if _, err := json.Marshal(o); err != nil {
			t.Errorf("marshal: %v", err)
		}
		if err := o.Print(&strings.Builder{}); err != nil {
			t.Errorf("print: %v", err)
		}
		for _, original := range o.Originals {
			if original.Octets <= 0 || original.Octets > int64(len(octets))*2 {
				t.Errorf("original of %d octets in a file of %d", original.Octets, len(octets))
			}
		}
		if asUser && len(o.Originals) > 0 {
			t.Error("unwrapped a user's mail")
		}
	})
}
