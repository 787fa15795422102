// Package source holds what a mail server hands over: references to messages, listings, octets, and what is asked of
// the server's copy afterwards.
//
// It knows neither IMAP nor POP3; imap and pop3 fill its types, poller reads them.
package source

import (
	"errors"
	"time"
)

// Ref names one message on one server.
//
// On IMAP it is identified by (Folder, UIDValidity, UID), on POP3 by UniqueID; UniqueID is "" on IMAP and UID is 0 on
// POP3. Number is the POP3 message-number: valid only in the session that made the Ref, never an identity.
type Ref struct {
	Folder       string
	UIDValidity  uint32
	UID          uint32
	UniqueID     string
	Number       int
	Octets       int64     // as listed: RFC822.SIZE or LIST
	InternalDate time.Time // IMAP INTERNALDATE; POP3: topmost Received when Since.Dates asked for it; zero if unknown
}

// Since says from where on a folder is to be listed.
type Since struct {
	UIDValidity uint32 // of the cursor; 0: there is none, list everything
	UID         uint32 // IMAP: lowest UID wanted
	Dates       bool   // POP3: fill Ref.InternalDate from the header, which costs a TOP a message
}

// Listing is what a folder or maildrop showed.
type Listing struct {
	Folder      string
	UIDValidity uint32 // IMAP; 0 on POP3
	UIDNext     uint32 // IMAP: greater than every UID in the folder when it was opened; 0 if the server does not say
	Messages    int    // EXISTS or STAT
	Reset       bool   // UIDVALIDITY differs from Since, or UIDNEXT is below Since.UID: Refs holds the whole folder
	Complete    bool   // POP3: UIDL, LIST and STAT agree, so that what is missing is gone
	Refs        []Ref  // in order of UID or message-number, each once; on POP3 all of the maildrop
}

// What Fetch may report for one message, besides *fault.Error with class Poison. Test with errors.Is.
var (
	ErrVanished = errors.New("message is no longer on the server")
	ErrTooLarge = errors.New("message is larger than the profile allows")
)

// Fetched is one message that Fetch was asked for. Exactly one of Raw and Err is set, but for ErrTooLarge, where Raw
// may hold the header alone. The receiver closes Raw.
type Fetched struct {
	Ref Ref
	Raw *Raw
	Err error
}

// Action is what is done to the server's copy.
type Action string

// The actions.
const (
	Delete Action = "delete"
	Move   Action = "move" // IMAP only
)

// Order asks for a disposition of one committed receipt. It is carried out only if the session has shown the same
// identity again (UIDVALIDITY and UID; unique-id and size).
type Order struct {
	ReceiptID int64
	Ref       Ref // Number is ignored: the session uses its own listing
	Action    Action
	Target    string // folder to move to
	Copied    bool   // a copy at Target was already made: only the delete is left
}

// Done says how far an order has come.
type Done string

// How far an order came. Anything else is tried again at a later poll.
const (
	DoneNot    Done = ""       // nothing was done, try again
	DoneCopied Done = "copied" // a copy is at Target, the original is still there
	DoneYes    Done = "done"   // the server confirmed: UID EXPUNGE or MOVE completed, or a clean QUIT after DELE
	DoneGone   Done = "gone"   // the identity is no longer on the server
)

// Disposed is the answer to one Order.
type Disposed struct {
	ReceiptID int64
	Done      Done
	Err       error // why not, for the log
}
