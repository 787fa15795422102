// Package activity holds what is made of mail: the e-mail's identity, the activity that users see, its parties and
// attachments. It has no I/O and knows no database.
package activity

import (
	"time"

	"github.com/google/uuid"
)

// Role is the part a person plays in an activity.
type Role string

// The roles.
const (
	RoleFrom             Role = "from"
	RoleSender           Role = "sender"
	RoleReplyTo          Role = "reply_to"
	RoleTo               Role = "to"
	RoleCc               Role = "cc"
	RoleBcc              Role = "bcc"
	RoleRecipientMailbox Role = "recipient_mailbox"
	RoleOwner            Role = "owner"
)

// Party is one person or address of an activity. Name and Address are as the message says, made fit for text columns.
type Party struct {
	Role     Role
	Name     string
	Address  string
	Type     string // of the party directory: user, queue, contact, account, lead, or an admin's own
	ID       string
	OwnerID  string
	Resolved bool // the directory was asked
}

// Attachment is a part of the original, kept as a span of its octets and decoded on reading.
type Attachment struct {
	Path      string // part number, "1.2"
	Filename  string
	MediaType string
	ContentID string
	Inline    bool
	Octets    int64 // decoded
	SHA256    [32]byte
	Offset    int64  // into the original's octets
	Length    int64  // encoded
	Encoding  string // identity, base64, quoted-printable or uuencode
}

// SentSource says where SentAt comes from.
type SentSource string

// The sources of SentAt.
const (
	SentDate         SentSource = "date"
	SentReceived     SentSource = "received"
	SentInternalDate SentSource = "internaldate"
	SentNone         SentSource = "none"
)

// Identity says which e-mail a message claims to be. Candidates with the same Key are compared by Content.
type Identity struct {
	Key             [32]byte
	Version         int
	MessageIDDigest []byte // 16 octets; nil without a Message-ID
}

// Content is what decides whether two copies with one Identity are the same e-mail.
type Content struct {
	SHA256            [32]byte // of the copy's octets
	Text              string   // normalised
	TextDigest        [32]byte
	AttachmentsDigest [32]byte
	Attachments       int
	Authenticated     bool
	Authentication    string // how: "direct" outside forward mailboxes, else the trust evidence's code
}

// Correlation is a message that this one answers, by the digest of its Message-ID; the best first.
type Correlation struct {
	Method          string // in_reply_to or references
	MessageIDDigest []byte
}

// Activity is the e-mail record that users see.
type Activity struct {
	ID            uuid.UUID // v7, ours; dropped if the e-mail was recorded before
	Direction     string    // incoming
	Class         string    // of package classify
	MailboxID     int64     // the recipient mailbox
	OwnerID       string
	Subject       string
	MessageID     string
	InReplyTo     []string
	References    []string
	SentAt        time.Time // zero when SentSource is SentNone
	SentOffset    int       // the sender's zone, in minutes east of UTC
	SentRaw       string    // the Date field as it stands
	SentSource    SentSource
	ReceivedAt    time.Time
	Text          string
	HTML          string // sanitised
	BodyTruncated bool
	Defects       []string
	Parties       []Party
	Attachments   []Attachment
	Correlations  []Correlation
}
