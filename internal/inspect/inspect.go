// Package inspect shows what Postroom makes of a message, without a database: the object of `postroom inspect`.
//
// It does not decide anything of its own: it runs the pure stages that the pipeline runs, as for a message that stands
// in a forward mailbox, and shows what they found. Whose mail a message is and whether it can be trusted needs the
// database.
//
// Invariants: it never fails and never refuses a message; the JSON object has every key of its contract, lists are
// never null.
package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/forward"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/trace"
)

// Object is what is shown of one file. Its JSON form is a contract.
type Object struct {
	File      string         `json:"file"`
	SHA256    string         `json:"sha256"` // hexadecimal
	Octets    int64          `json:"octets"`
	Class     classify.Class `json:"class"`
	Reason    string         `json:"reason"` // why this class, in a few words
	Originals []Original     `json:"originals"`
	Defect    receipt.Reason `json:"-"`               // of a wrapper that must not be cut; it stands in Message.Defects too
	Outer     *eml.View      `json:"outer,omitempty"` // of class wrapper and journal
	Message   *eml.View      `json:"message"`         // the original if there is exactly one, else the outer message
	Trace     []Step         `json:"trace"`
}

// Original is a message that the file carries.
type Original struct {
	SHA256   string    `json:"sha256"`
	Octets   int64     `json:"octets"`
	Path     string    `json:"path"`
	Encoding string    `json:"encoding"`
	Message  *eml.View `json:"message"`
}

// Step is one thing that a stage found.
type Step struct {
	Stage trace.Stage `json:"stage"`
	Code  trace.Code  `json:"code"`
	Text  string      `json:"text"`
}

// Octets shows the octets of one file. With asUser it is read as mail of a user's own mailbox: nothing is unwrapped, and
// what would be a wrapper is ordinary mail with a message attached.
func Octets(file string, octets []byte, asUser bool) Object {
	sum := sha256.Sum256(octets)
	m := eml.Read(octets, eml.DefaultLimits())
	class := classify.Classify(m)
	if asUser && class.Class == classify.Wrapper {
		class = classify.Result{Class: classify.Ordinary, Reason: "a user's own mail is not unwrapped"}
	}
	o := Object{
		File: file, SHA256: hex.EncodeToString(sum[:]), Octets: int64(len(octets)),
		Class: class.Class, Reason: class.Reason, Originals: []Original{}, Message: m.View(),
	}
	var steps trace.Trace
	steps.Add(trace.Read, "read", "media_type", m.Root.MediaType, "parts", strconv.Itoa(parts(m)), "defects", strconv.Itoa(len(o.Message.Defects)))
	steps.Add(trace.Classify, "class", "class", string(class.Class), "reason", class.Reason)
	if !asUser && (class.Class == classify.Wrapper || class.Class == classify.Journal) {
		o.Outer = o.Message
		steps = append(steps, o.unwrap(m)...)
	}
	for _, s := range steps {
		o.Trace = append(o.Trace, Step{Stage: s.Stage, Code: s.Code, Text: s.Text()})
	}
	return o
}

// unwrap fills in the originals.
func (o *Object) unwrap(m *eml.Message) trace.Trace {
	u, err := forward.Unwrap(m, "")
	if err != nil {
		var t trace.Trace
		t.Add(trace.Unwrap, "unwrap_failed", "error", err.Error())
		return t
	}
	defer u.Close() //nolint:errcheck // octets that were only read
	if o.Defect = u.Defect; u.Defect != "" && !slices.Contains(o.Message.Defects, string(u.Defect)) {
		o.Message.Defects = append(o.Message.Defects, string(u.Defect))
	}
	for _, original := range u.Originals {
		octets := original.Bytes(m)
		sum := sha256.Sum256(octets)
		o.Originals = append(o.Originals, Original{
			SHA256: hex.EncodeToString(sum[:]), Octets: int64(len(octets)), Path: original.Path, Encoding: original.Encoding,
			Message: eml.Read(octets, eml.DefaultLimits()).View(),
		})
	}
	if len(o.Originals) == 1 {
		o.Message = o.Originals[0].Message
	}
	return u.Trace
}

func parts(m *eml.Message) int {
	n := 0
	for range m.Walk() {
		n++
	}
	return n
}
