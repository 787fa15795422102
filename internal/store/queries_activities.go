package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/postroom/postroom/internal/fault"
)

// ActivityView is an activity in a list.
type ActivityView struct {
	ActivityID    uuid.UUID  `json:"activity_id"`
	ReceivedAt    time.Time  `json:"received_at"`
	SentAt        *time.Time `json:"sent_at"`
	Mailbox       string     `json:"mailbox"`
	FromName      string     `json:"from_name"`
	FromAddress   string     `json:"from_address"`
	Subject       string     `json:"subject"`
	Class         string     `json:"class"`
	Attachments   int        `json:"attachments"`
	Authenticated bool       `json:"authenticated"`
}

// Activities returns the newest activities that were met in a mailbox (0: in any), by the time they were received.
func (db *DB) Activities(ctx context.Context, mailboxID int64, page Page) ([]ActivityView, error) {
	return ask[ActivityView](ctx, db, "the activities", `
		SELECT a.activity_id, a.received_at, a.sent_at, coalesce(m.name, ''), coalesce(f.name, ''), coalesce(f.address, ''),
			a.subject, a.class, a.attachments, a.authenticated
		FROM activity a
		LEFT JOIN mailbox m USING (mailbox_id)
		LEFT JOIN LATERAL (
			SELECT name, address FROM party p WHERE p.activity_id = a.activity_id AND p.role = 'from' ORDER BY ordinal LIMIT 1
		) f ON true
		WHERE ($1 = 0 OR EXISTS (SELECT FROM sighting s WHERE s.email_id = a.email_id AND s.mailbox_id = $1))
			AND ($2::timestamptz IS NULL OR a.received_at >= $2)
		ORDER BY a.received_at DESC, a.activity_id DESC LIMIT $3`, mailboxID, page.since(), page.Limit)
}

// ActivityDetail is an activity with everything that belongs to it.
type ActivityDetail struct {
	ActivityID       uuid.UUID        `json:"activity_id"`
	EmailID          uuid.UUID        `json:"email_id"`
	Version          int              `json:"version"`
	Direction        string           `json:"direction"`
	Status           string           `json:"status"`
	Class            string           `json:"class"`
	Mailbox          string           `json:"mailbox"`
	OwnerID          *string          `json:"owner_id"`
	RegardingType    *string          `json:"regarding_type"`
	RegardingID      *string          `json:"regarding_id"`
	ParentActivityID *uuid.UUID       `json:"parent_activity_id"`
	Correlation      *string          `json:"correlation"`
	Subject          string           `json:"subject"`
	MessageID        *string          `json:"message_id"`
	InReplyTo        []string         `json:"in_reply_to"`
	References       []string         `json:"references"`
	SentAt           *time.Time       `json:"sent_at"`
	SentSource       string           `json:"sent_source"`
	ReceivedAt       time.Time        `json:"received_at"`
	RecordedAt       time.Time        `json:"recorded_at"`
	Authenticated    bool             `json:"authenticated"`
	TextBody         string           `json:"text_body"`
	BodyTruncated    bool             `json:"body_truncated"`
	Defects          []string         `json:"defects"`
	Octets           int64            `json:"octets"`
	Parties          []PartyView      `json:"parties"`
	Attachments      []AttachmentView `json:"attachments"`
	Sightings        []SightingView   `json:"sightings"`
}

// PartyView is a party of an activity.
type PartyView struct {
	Role      string  `json:"role"`
	Name      string  `json:"name"`
	Address   string  `json:"address"`
	PartyType *string `json:"party_type"` // null: nobody that the directory knows, or it could not be asked
	PartyID   *string `json:"party_id"`
	Resolved  bool    `json:"resolved"` // the directory was asked
}

// AttachmentView is an attachment without its octets.
type AttachmentView struct {
	Ordinal   int    `json:"ordinal"`
	Path      string `json:"path"`
	Filename  string `json:"filename"`
	MediaType string `json:"media_type"`
	ContentID string `json:"content_id"`
	Inline    bool   `json:"inline"`
	Octets    int64  `json:"octets"`
	SHA256    string `json:"sha256"`
}

// SightingView is one mailbox in which the e-mail was met.
type SightingView struct {
	SightingID     uuid.UUID `json:"sighting_id"`
	Mailbox        string    `json:"mailbox"`
	Via            string    `json:"via"` // the forward mailbox it came through, ""
	ReceiptID      int64     `json:"receipt_id"`
	Ordinal        int       `json:"ordinal"`
	Authentication string    `json:"authentication"`
	Authenticated  bool      `json:"authenticated"`
	SeenAt         time.Time `json:"seen_at"`
}

// Activity returns an activity. It fails with ErrNoRecord.
func (db *DB) Activity(ctx context.Context, id uuid.UUID) (*ActivityDetail, error) {
	list, err := ask[ActivityDetail](ctx, db, "the activity", `
		SELECT a.activity_id, a.email_id, a.version, a.direction, a.status, a.class, coalesce(m.name, ''), a.owner_id,
			a.regarding_type, a.regarding_id, a.parent_activity_id, a.correlation, a.subject, a.message_id, a.in_reply_to,
			a.reference_ids, a.sent_at, a.sent_source, a.received_at, a.recorded_at, a.authenticated, a.text_body,
			a.body_truncated, a.defects, a.octets,
			(SELECT coalesce(jsonb_agg(jsonb_build_object('role', role, 'name', name, 'address', address,
				'party_type', party_type, 'party_id', party_id, 'resolved', resolved_at IS NOT NULL) ORDER BY ordinal), '[]')
				FROM party p WHERE p.activity_id = a.activity_id),
			(SELECT coalesce(jsonb_agg(jsonb_build_object('ordinal', ordinal, 'path', path, 'filename', filename,
				'media_type', media_type, 'content_id', content_id, 'inline', is_inline, 'octets', octets,
				'sha256', encode(sha256, 'hex')) ORDER BY ordinal), '[]')
				FROM attachment t WHERE t.activity_id = a.activity_id),
			(SELECT coalesce(jsonb_agg(jsonb_build_object('sighting_id', s.sighting_id, 'mailbox', b.name,
				'via', coalesce(v.name, ''), 'receipt_id', s.receipt_id, 'ordinal', s.ordinal,
				'authentication', s.authentication, 'authenticated', s.authenticated, 'seen_at', s.seen_at)
				ORDER BY s.seen_at, s.sighting_id), '[]')
				FROM sighting s JOIN mailbox b USING (mailbox_id) LEFT JOIN mailbox v ON v.mailbox_id = s.via_mailbox_id
				WHERE s.email_id = a.email_id)
		FROM activity a LEFT JOIN mailbox m USING (mailbox_id)
		WHERE a.activity_id = $1`, id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, noRecord("activity", id.String())
	}
	return &list[0], nil
}

// AttachmentSpan says where an attachment's octets are and how they are encoded.
type AttachmentSpan struct {
	AttachmentView
	RawID    int64
	Offset   int64 // into the raw octets
	Length   int64 // encoded
	Encoding string
}

// Attachment returns one attachment of an activity. It fails with ErrNoRecord.
func (db *DB) Attachment(ctx context.Context, activityID uuid.UUID, ordinal int) (*AttachmentSpan, error) {
	list, err := ask[AttachmentSpan](ctx, db, "the attachment", `
		SELECT t.ordinal, t.path, t.filename, t.media_type, t.content_id, t.is_inline, t.octets, encode(t.sha256, 'hex'),
			a.raw_id, a.raw_offset + t.raw_offset, t.raw_length, t.encoding
		FROM attachment t JOIN activity a USING (activity_id)
		WHERE t.activity_id = $1 AND t.ordinal = $2`, activityID, ordinal)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fault.New(fault.Permanent, "no_record", "postroom activity show ID lists its attachments",
			fmt.Errorf("activity %s, attachment %d: %w", activityID, ordinal, ErrNoRecord))
	}
	return &list[0], nil
}
