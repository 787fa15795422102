// Package classify says what kind of message one is, by its structure and header fields alone, as for a message that
// stands in a forward mailbox.
//
// It does not decide whose mail a message holds nor whether it can be trusted: everything that it reads can be forged.
// It is pure, and linear in the octets.
//
// Invariants: the first test that hits wins, in the order of Classify: reports before everything else, since many of
// them carry a message just as a wrapper does; a part without octets or without a header is never taken for an original;
// parts of type message/* are not entered, so what an original is does not change what its wrapper is.
package classify

import (
	"github.com/postroom/postroom/internal/eml"
)

// Class is the kind of a message.
type Class string

// The classes.
const (
	Ordinary   Class = "ordinary"
	Wrapper    Class = "wrapper"    // carries at least one original as attachment
	DSN        Class = "dsn"        // delivery status notification (RFC 3464) or a bounce in another form; other reports about mail
	ARF        Class = "arf"        // abuse or authentication failure report (RFC 5965, 6591)
	MDN        Class = "mdn"        // disposition notification, a read receipt (RFC 8098)
	AutoReply  Class = "auto_reply" // answer of a machine (RFC 3834): out of office
	Digest     Class = "digest"     // multipart/digest (RFC 2046 section 5.1.5)
	List       Class = "list"       // came by a mailing list (RFC 2919)
	Journal    Class = "journal"    // Exchange journal report
	Unreadable Class = "unreadable" // no octets
)

// Result is a class and why.
type Result struct {
	Class  Class
	Reason string // a few words; never a subject, a text or a file name
	// Doubtful is set where nothing but a null return path speaks for a report, which servers write for other mail too, or
	// nothing but a subject for an automatic reply. It is better kept for a person than ignored.
	Doubtful bool
}

// Classify returns the class of m.
func Classify(m *eml.Message) Result {
	if len(m.Octets) == 0 {
		return Result{Class: Unreadable, Reason: "no octets"}
	}
	originals := Originals(m)
	o := outer{m: m, header: m.Root.Header, holds: len(originals) > 0}
	for _, test := range []func(*outer) (Result, bool){
		reportPart, daemon, autoReply, journal, digest, list, nullPath,
	} {
		if r, hit := test(&o); hit {
			return r
		}
	}
	switch {
	case len(originals) == 1:
		return Result{Class: Wrapper, Reason: "holds a message as " + originals[0].where()}
	case o.holds:
		return Result{Class: Wrapper, Reason: "holds several messages"}
	case Sealed(m) && o.forwarded():
		return Result{Class: Wrapper, Reason: "forwarded, and encrypted or signed as a whole"}
	}
	return Result{Class: Ordinary, Reason: "holds no message and is no report"}
}

// outer is what the tests look at: the outer message, nothing inside its message/* parts.
type outer struct {
	m      *eml.Message
	header eml.Header
	holds  bool // at least one original
}

// journal finds reports of Exchange's journaling: the one shape that tells envelope and blind copies.
func journal(o *outer) (Result, bool) {
	if has(o.header, "X-MS-Journal-Report") {
		return Result{Class: Journal, Reason: "X-MS-Journal-Report"}, true
	}
	if o.holds && contains(o.header, "X-MS-Exchange-Generated-Message-Source", "journal agent") {
		return Result{Class: Journal, Reason: "made by the Journal Agent"}, true
	}
	return Result{}, false
}

func digest(o *outer) (Result, bool) {
	for p := range o.m.Walk() {
		if mediaTypeOf(p) == "multipart/digest" {
			return Result{Class: Digest, Reason: "multipart/digest"}, true
		}
	}
	return Result{}, false
}

func list(o *outer) (Result, bool) {
	for _, name := range []string{"List-Id", "List-Post", "Mailing-List"} {
		if has(o.header, name) {
			return Result{Class: List, Reason: name}, true
		}
	}
	return Result{}, false
}

// nullPath is the last test for reports, since auto-replies and lists have null return paths too. Exchange drops the
// return path of rule forwards when it suppresses loops: its rules' marker goes before.
func nullPath(o *outer) (Result, bool) {
	if !o.nullReturnPath() || o.holds && o.ruleMade() {
		return Result{}, false
	}
	return Result{Class: DSN, Reason: "null return path", Doubtful: !o.bounces()}, true
}
