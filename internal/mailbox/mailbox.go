// Package mailbox holds the records that Postroom polls: profiles, mailboxes, cursors and leases, with the rules that
// need no database.
package mailbox

import (
	"errors"
	"time"

	"github.com/google/uuid"
)

// Kind is what a mailbox is.
type Kind string

// The kinds of mailboxes.
const (
	User    Kind = "user"
	Queue   Kind = "queue"
	Forward Kind = "forward" // server-side rules send everyone's mail here as attachments
)

// Protocol is spoken by a server.
type Protocol string

// The protocols.
const (
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
)

// TLSMode is how a connection is secured.
type TLSMode string

// The TLS modes.
const (
	ImplicitTLS TLSMode = "implicit"
	StartTLS    TLSMode = "starttls"  // STARTTLS on IMAP (RFC 3501), STLS on POP3 (RFC 2595)
	Plaintext   TLSMode = "plaintext" // nothing is protected; must be written out
)

// Profile describes a mail server, for any number of mailboxes.
type Profile struct {
	ID             int64
	Name           string
	Protocol       Protocol
	Host           string
	Port           int
	TLS            TLSMode
	CAFile         string        // PEM of the CAs to trust instead of the system's
	MaxConnections int           // for the deployment
	Timeout        time.Duration // of one command
	PollTimeout    time.Duration // of one poll of one mailbox
	MaxOctets      int64         // larger messages are quarantined by their header alone
	AuthservID     string        // authserv-id whose Authentication-Results are trusted (RFC 8601)
	MXHosts        []string      // names that our own MX writes after "by" in Received
	Exchange       bool          // Exchange behind its header firewall: X-MS-Exchange-Organization-* can be trusted
}

// Incoming is how a mailbox's mail reaches Postroom.
type Incoming string

// The incoming methods.
const (
	IncomingNone   Incoming = "none"
	ForwardMailbox Incoming = "forward_mailbox" // by wrappers in a forward mailbox
	ServerSide     Incoming = "server_side"     // it is polled itself
)

// Disposition is what is done to the server's copy.
type Disposition string

// The dispositions.
const (
	Leave  Disposition = "leave"
	Delete Disposition = "delete"
	Move   Disposition = "move"
)

// TrustPolicy says what a forward mailbox demands of a wrapper.
type TrustPolicy string

// The trust policies.
const (
	Enforce TrustPolicy = "enforce"
	Warn    TrustPolicy = "warn"
	Off     TrustPolicy = "off"
)

// StartKind says from when on mail is read.
type StartKind string

// The start points.
const (
	StartNow  StartKind = "now"  // the moment the mailbox was enabled
	StartDate StartKind = "date" // Mailbox.StartAt
	StartAll  StartKind = "all"  // everything that is there
)

// Accept is a recipient mailbox's filter.
type Accept string

// The filters.
const (
	AcceptAll  Accept = "all"
	AcceptNone Accept = "none"
)

// Mailbox is a record that is polled, or that receives mail by a forward mailbox.
type Mailbox struct {
	ID              int64
	Name            string
	Kind            Kind
	Address         string
	Aliases         []string
	RegardingID     int64  // user_id of a User, queue_id of a Queue, 0 of a Forward
	OwnerID         string // user_id of the user, or of the queue's owner; "" if there is none
	Incoming        Incoming
	Profile         *Profile // nil unless Incoming is ServerSide
	Username        string
	SecretRef       string // file:/path or credential:name
	Folders         []string
	StartKind       StartKind
	StartAt         time.Time // of StartDate
	PollInterval    time.Duration
	Priority        int
	Disposition     Disposition
	DeleteAfter     time.Duration
	MoveTo          string
	Undeliverable   string // IMAP folder for quarantined mail; "" leaves it
	DeleteIgnored   bool   // queue: disposition applies to ignored mail too
	Trust           TrustPolicy
	TokenSuffices   bool
	PlusTokenDigest []byte // sha256 of this recipient's secret plus-address token; nil if it has none
	Accept          Accept
	Enabled         bool
	EnabledAt       time.Time
}

// Start returns the instant from which on mail counts: zero for StartAll.
func (m *Mailbox) Start() time.Time {
	switch m.StartKind {
	case StartAll:
		return time.Time{}
	case StartDate:
		return m.StartAt
	case StartNow:
	}
	return m.EnabledAt
}

// Cursor is how far a folder (IMAP) or maildrop (POP3, named INBOX) of one account has been listed.
type Cursor struct {
	FolderID    int64
	MailboxID   int64
	Folder      string
	UIDValidity uint32 // 0: never listed, or POP3
	UIDNext     uint32 // lowest UID that is not finished
	// StartUIDValidity and StartUIDNext are those of the first listing under this UIDVALIDITY, 0 on POP3: what lies below
	// counts only if it came at StartAt or later, however often that listing was interrupted.
	StartUIDValidity uint32
	StartUIDNext     uint32
	StartAt          time.Time
	Listed           bool // it has been listed before
	Messages         int  // how many it held at the last listing
	Moved            bool // the mailbox's folder of this name was listed before, under another account
}

// ErrLeaseLost says that another daemon has taken the mailbox over: nothing was written, and nothing is to be. It comes
// with the class fault.Stopping.
var ErrLeaseLost = errors.New("the lease was lost: another daemon has taken the mailbox over")

// Lease is a daemon's fenced claim on a mailbox. Every write of a poll compares Token with the row, under FOR SHARE, in
// the same transaction.
type Lease struct {
	MailboxID   int64
	DaemonID    uuid.UUID
	Token       int64
	Host        string        // that is polled, lower case; for limits and logs
	PollTimeout time.Duration // the profile's: a poll ends after it
}
