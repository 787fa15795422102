package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/store"
)

// maxLimit is the longest list that one command prints.
const maxLimit = 10_000

func (a *app) activityCommand() *cobra.Command {
	show := a.command(spec{
		use: "show ID", short: "Show an activity: parties, attachments, where it was met, text",
		example: "  postroom activity show 01930c2e-5f0c-7cc3-98c4-dc0c0c07398f",
		args:    cobra.ExactArgs(1),
		run: func(ctx context.Context, args []string) error {
			id, err := activityID(args[0])
			if err != nil {
				return err
			}
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, _ *config.Config) error {
				return a.activityShow(ctx, db, id)
			})
		},
	})
	return group("activity", "Look at the activities that were recorded", "  postroom activity list --since 24h\n  postroom activity show 01930c2e-5f0c-7cc3-98c4-dc0c0c07398f",
		a.activityListCommand(), show, a.attachmentCommand())
}

func activityID(s string) (uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil {
		return uuid.UUID{}, misused("%q is not the id of an activity: activity list and find show them", s)
	}
	return id, nil
}

// page makes a page of the flags --since and --limit.
func page(from string, limit int) (store.Page, error) {
	t, err := since(from, time.Now())
	if err != nil {
		return store.Page{}, err
	}
	if limit < 1 || limit > maxLimit {
		return store.Page{}, misused("--limit is a number from 1 to %d, not %d", maxLimit, limit)
	}
	return store.Page{Since: t, Limit: limit}, nil
}

func (a *app) activityListCommand() *cobra.Command {
	var name, from string
	var limit int
	c := a.command(spec{
		use: "list", short: "List activities, the newest first",
		example: "  postroom activity list --mailbox support --since 24h\n  postroom activity list --limit 5 --output json",
		args:    cobra.NoArgs,
		run: func(ctx context.Context, _ []string) error {
			p, err := page(from, limit)
			if err != nil {
				return err
			}
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, _ *config.Config) error {
				return a.activityList(ctx, db, name, p)
			})
		},
	})
	c.Flags().StringVar(&name, "mailbox", "", "only what was met in the mailbox of this name or id")
	c.Flags().StringVar(&from, "since", "", "only what was received since: 24h, 7d, 2026-11-01 or RFC 3339")
	c.Flags().IntVar(&limit, "limit", 50, "how many at most")
	return c
}

func mailboxID(ctx context.Context, db *store.DB, name string) (int64, error) {
	if name == "" {
		return 0, nil
	}
	m, err := db.Mailbox(ctx, name)
	if err != nil {
		return 0, err
	}
	return m.ID, nil
}

func (a *app) activityList(ctx context.Context, db *store.DB, name string, p store.Page) error {
	id, err := mailboxID(ctx, db, name)
	if err != nil {
		return err
	}
	rows, err := db.Activities(ctx, id, p)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.printJSON(rowsOf(rows))
	}
	t := table{header: []string{"ID", "RECEIVED", "MAILBOX", "FROM", "SUBJECT"}, flex: 4, ids: true}
	for _, r := range rows {
		from := r.FromAddress
		if from == "" {
			from = r.FromName
		}
		t.add(r.ActivityID.String(), minute(r.ReceivedAt), r.Mailbox, from, r.Subject)
	}
	return a.print(t.text(a.columns()))
}

func (a *app) activityShow(ctx context.Context, db *store.DB, id uuid.UUID) error {
	d, err := db.Activity(ctx, id)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.printJSON(d)
	}
	return a.print(activityText(d))
}

func activityText(d *store.ActivityDetail) string {
	var f fields
	f.add("activity", "%s (version %d)", d.ActivityID, d.Version)
	f.add("e-mail", "%s", d.EmailID)
	f.add("mailbox", "%s", d.Mailbox)
	f.add("subject", "%s", d.Subject)
	for _, p := range d.Parties {
		f.add(p.Role, "%s", partyText(p))
	}
	f.add("sent", "%s (%s)", at(d.SentAt), d.SentSource)
	f.add("received", "%s", at(&d.ReceivedAt))
	f.add("recorded", "%s", at(&d.RecordedAt))
	f.add("Message-ID", "%s", value(d.MessageID))
	f.add("in reply to", "%s", strings.Join(d.InReplyTo, " "))
	if d.ParentActivityID != nil {
		f.add("answers", "%s (by %s)", *d.ParentActivityID, value(d.Correlation))
	}
	if d.RegardingID != nil {
		f.add("regarding", "%s %s", value(d.RegardingType), *d.RegardingID)
	}
	f.add("class", "%s", d.Class)
	f.add("authenticated", "%t", d.Authenticated)
	f.add("defects", "%s", strings.Join(d.Defects, ", "))
	for _, s := range d.Sightings {
		f.add("met in", "%s%s at %s (receipt %d, %s)", s.Mailbox, prefixed(" via ", s.Via), at(&s.SeenAt), s.ReceiptID, s.Authentication)
	}
	for _, t := range d.Attachments {
		inline := ""
		if t.Inline {
			inline = ", inline"
		}
		f.add("attachment "+strconv.Itoa(t.Ordinal), "%s (%s, %s%s)", t.Filename, t.MediaType, octets(t.Octets), inline)
	}
	var b strings.Builder
	b.WriteString(f.b.String() + "\n")
	for line := range strings.Lines(d.TextBody) {
		b.WriteString(clean(strings.TrimRight(line, "\r\n")) + "\n")
	}
	if d.BodyTruncated {
		b.WriteString("… (the text is longer)\n")
	}
	return b.String()
}

func partyText(p store.PartyView) string {
	text := p.Address
	switch {
	case p.Name != "" && p.Address != "":
		text = fmt.Sprintf("%s <%s>", p.Name, p.Address)
	case p.Name != "":
		text = p.Name
	}
	if p.PartyID != nil {
		text += fmt.Sprintf(" (%s %s)", value(p.PartyType), *p.PartyID)
	}
	return text
}
