package pipeline

import (
	"time"

	"github.com/google/uuid"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/mailbox"
)

// maxParties is how many people of one message are kept. A party is a row; a hostile message names a million.
const maxParties = 2000

// maxAttachments is how many attachments of one message are kept, for the same reason.
const maxAttachments = 1000

// identityOf returns which e-mail an original claims to be. It takes only what the sender wrote: a server's date differs
// from copy to copy.
func identityOf(v *eml.View, a *activity.Activity) activity.Identity {
	var from string
	if len(v.From) > 0 {
		from = v.From[0].Address
	}
	var date time.Time
	if a.SentSource == activity.SentDate {
		date = a.SentAt
	}
	return activity.IdentityOf(v.MessageID, from, date, v.Subject, v.Text)
}

// activityOf makes the activity of an original from its view.
func (p *Pipeline) activityOf(m *message, o *original) *activity.Activity {
	v := o.view
	a := &activity.Activity{
		ID: uuid.Must(uuid.NewV7()), Direction: "incoming", Class: string(o.class),
		MailboxID: o.recipient.ID, OwnerID: o.recipient.OwnerID,
		Subject: v.Subject, MessageID: v.MessageID, InReplyTo: v.InReplyTo, References: v.References,
		Text: v.Text, HTML: p.html.clean(v.HTML), BodyTruncated: v.TextTruncated || v.HTMLTruncated,
		Defects: v.Defects, Correlations: o.correlations,
	}
	a.Parties, a.Defects = parties(o.recipient, v, a.Defects)
	a.Attachments, a.Defects = attachments(v, a.Defects)
	sent(a, m.arrival, v)
	return a
}

// sent fills in when the message was sent and received. The Date field is what the sender says; without one it is the
// topmost Received field, then the server's INTERNALDATE. Received is the server's word, then our own.
func sent(a *activity.Activity, arrival *Arrival, v *eml.View) {
	internal := arrival.Ref.InternalDate
	a.ReceivedAt = arrival.SeenAt
	if !internal.IsZero() {
		a.ReceivedAt = internal
	}
	a.SentRaw, a.SentSource = v.DateRaw, activity.SentNone
	switch {
	case v.Date != nil && v.DateSource == eml.DateFromDate:
		a.SentAt, a.SentOffset, a.SentSource = *v.Date, v.DateOffset, activity.SentDate
	case v.Date != nil:
		a.SentAt, a.SentOffset, a.SentSource = *v.Date, v.DateOffset, activity.SentReceived
	case !internal.IsZero():
		a.SentAt, a.SentSource = internal, activity.SentInternalDate
	}
	if a.SentAt.Year() < 1 || a.SentAt.Year() > 9999 { // no timestamptz holds it in RFC 3339
		a.SentAt, a.SentOffset, a.SentSource = time.Time{}, 0, activity.SentNone
	}
}

// parties returns who takes part in a message: first the recipient mailbox and its owner, which the header may not name.
func parties(recipient *mailbox.Mailbox, v *eml.View, defects []string) ([]activity.Party, []string) {
	out := []activity.Party{{Role: activity.RoleRecipientMailbox, Name: recipient.Name, Address: recipient.Address}}
	if recipient.OwnerID != "" {
		out = append(out, activity.Party{
			Role: activity.RoleOwner, Type: "user", ID: recipient.OwnerID, OwnerID: recipient.OwnerID, Resolved: true,
		})
	}
	var sender []eml.Address
	if v.Sender != nil {
		sender = []eml.Address{*v.Sender}
	}
	for _, field := range []struct {
		role      activity.Role
		addresses []eml.Address
	}{
		{activity.RoleFrom, v.From},
		{activity.RoleSender, sender},
		{activity.RoleReplyTo, v.ReplyTo},
		{activity.RoleTo, v.To},
		{activity.RoleCc, v.Cc},
		{activity.RoleBcc, v.Bcc},
	} {
		for _, addr := range field.addresses {
			if len(out) == maxParties {
				return out, append(defects, "too_many_addresses")
			}
			out = append(out, activity.Party{Role: field.role, Name: addr.Name, Address: addr.Address})
		}
	}
	return out, defects
}

func attachments(v *eml.View, defects []string) ([]activity.Attachment, []string) {
	found := v.Attachments
	if len(found) > maxAttachments {
		found, defects = found[:maxAttachments], append(defects, "too_many_attachments")
	}
	out := make([]activity.Attachment, len(found))
	for i, f := range found {
		out[i] = activity.Attachment{
			Path: f.Path, Filename: f.Filename, MediaType: f.MediaType, ContentID: f.ContentID, Inline: f.Inline,
			Octets: f.Octets, SHA256: f.SHA256, Offset: f.Offset, Length: f.Length, Encoding: f.Encoding,
		}
	}
	return out, defects
}
