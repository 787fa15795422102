// Package receipt holds the ledger's records: what became of each message on each server, its items, and the batch that
// one transaction writes. It has no I/O.
//
// Invariants: every message that a listing has shown since the start point gets one Receipt; a finished one has one
// outcome; a Receipt is written together with its octets or with the reason why they cannot be had.
package receipt

import (
	"time"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/trace"
)

// Outcome is what became of a message or of one of its originals.
type Outcome string

// The outcomes.
const (
	Recorded    Outcome = "recorded"
	Duplicate   Outcome = "duplicate"   // its e-mail was recorded before; linked
	Ignored     Outcome = "ignored"     // by a named rule
	Quarantined Outcome = "quarantined" // with a reason, until released or discarded
)

// Reason is the rule that ignored a message, or why it is in quarantine. A closed list, docs/quarantine.md.
type Reason string

// The rules that ignore.
const (
	Vanished    Reason = "vanished"     // listed, but taken away by another client before its octets were ours
	NotAccepted Reason = "not_accepted" // the recipient mailbox accepts nothing
	Report      Reason = "report"       // a DSN, ARF or MDN in a forward mailbox: about mail, not a user's mail
	AutoReply   Reason = "auto_reply"   // an out-of-office reply sent to a forward mailbox
	Deleted     Reason = "deleted"      // its record was deleted or erased, and does not come back
)

// The reasons for quarantine.
const (
	TooLarge          Reason = "too_large"          // over the profile's max_octets: only the header is kept
	Undeliverable     Reason = "undeliverable"      // the server lists it but cannot hand it over
	Unreadable        Reason = "unreadable"         // a stage failed on it every time
	Unrecordable      Reason = "unrecordable"       // PostgreSQL refused it when it was written alone
	NoOriginal        Reason = "no_original"        // in a forward mailbox, and holds no original
	Truncated         Reason = "truncated"          // the wrapper is cut: the original is not whole
	BoundaryCollision Reason = "boundary_collision" // original and wrapper share a boundary: where it ends is not certain
	TooManyParts      Reason = "too_many_parts"     // the wrapper has more parts, or deeper ones, than are read: an original could be missed
	Encrypted         Reason = "encrypted"          // the wrapper is encrypted
	UnknownRecipient  Reason = "unknown_recipient"  // whose mail it is could not be found
	EvidenceConflict  Reason = "evidence_conflict"  // strong evidence names two recipients
	NotForwarding     Reason = "not_forwarding"     // the recipient's incoming method is not forward_mailbox
	Untrusted         Reason = "untrusted"          // the forward mailbox's trust policy is not met
	Journal           Reason = "journal"            // an Exchange journal report: not read yet
	ListMail          Reason = "list_mail"          // a list or digest that stands in a forward mailbox
	TooManyVariants   Reason = "too_many_variants"  // many messages with other texts claim its identity
)

// Item is one original of a message. Its octets are the span [Offset, Offset+Octets) of Raw.
type Item struct {
	Ordinal   int         // from 1
	Path      string      // part number in the wrapper, "" for the message itself
	Raw       *source.Raw // where the span lies: the receipt's Raw, or octets of its own when a transfer encoding was undone
	Offset    int64
	Octets    int64
	Plan      Outcome // Recorded (the Writer may make it Duplicate), Ignored or Quarantined
	Reason    Reason  // of Ignored and Quarantined
	MailboxID int64   // recipient mailbox; 0: unknown
	ViaID     int64   // forward mailbox it came through; 0: none
	Email     activity.Identity
	Content   activity.Content
	Activity  *activity.Activity // of Plan Recorded
}

// Receipt is one message on one server, with what is to be written about it.
type Receipt struct {
	ID         int64 // set when the row exists already: a stored one that is decided again
	Ref        source.Ref
	Generation int // POP3: how often the unique-id was used before
	Ordinal    int // POP3: which of several messages with one unique-id in one listing
	SeenAt     time.Time

	Baseline bool        // listed at the start point, never read: nothing below is set
	Raw      *source.Raw // nil: the octets cannot be had, Plan and Reason say why
	LoadID   int64       // raw row that already holds Raw's chunks, state loading; 0: Raw goes into the transaction

	Undecided bool // octets kept, decision failed for now: state stored, tried again in RetryIn
	Tries     int
	RetryIn   time.Duration // from the commit on, by PostgreSQL's clock

	Plan   Outcome // without Items: Ignored or Quarantined; with Items it follows from them
	Reason Reason
	Items  []Item
	Trace  trace.Trace

	Dispose   bool          // a disposition is due once the receipt is finished
	DisposeIn time.Duration // not before this long after the commit
}

// Batch is what one transaction writes for one folder: up to 50 messages or 4 MB.
type Batch struct {
	FolderID int64
	Receipts []Receipt // in listing order, identities once
	Closed   []int64   // POP3: receipts that a complete listing no longer shows
	Cursor   *Cursor   // nil: the cursor stays
}

// Cursor is where a folder's cursor moves to.
type Cursor struct {
	UIDValidity uint32
	UIDNext     uint32
	Messages    int
	Missed      int64 // to be added
	// StartUIDNext is UIDNEXT of the listing, when it is the first one under UIDValidity: with it the start point. 0: the
	// start point stays.
	StartUIDNext uint32
}

// Result is what became of one Receipt of a batch, in the batch's order.
type Result struct {
	ReceiptID int64
	Outcome   Outcome // "" for a stored or baseline one
	Reason    Reason
	Items     []ItemResult
}

// ItemResult is what became of one Item.
type ItemResult struct {
	Outcome    Outcome
	Reason     Reason
	EmailID    string
	ActivityID string // "" unless recorded or duplicate
	Conflict   bool   // its e-mail has the identity of another with different text
	Upgraded   bool   // it became the copy that the activity shows
}

// Overall returns the outcome of a message from those of its items: the first that occurs of quarantined, recorded,
// duplicate, ignored, with its reason.
func Overall(items []ItemResult) (Outcome, Reason) {
	for _, o := range []Outcome{Quarantined, Recorded, Duplicate, Ignored} {
		for _, it := range items {
			if it.Outcome == o {
				return o, it.Reason
			}
		}
	}
	return "", ""
}

// OpenRef is a message that the newest complete listing of a maildrop showed, as its receipt keeps it.
type OpenRef struct {
	ReceiptID  int64
	Digest     [16]byte // of its unique-id
	Octets     int64    // as listed
	Generation int
	Ordinal    int
	State      string // baseline, stored or finished
}

// Due is a committed receipt whose disposition is due.
type Due struct {
	ReceiptID int64
	Ref       source.Ref // UniqueID is not kept: UniqueIDDigest stands for it
	Digest    [16]byte
	Ordinal   int
	Outcome   Outcome
	Copied    bool // a copy at the target was made: only the delete is left
}
