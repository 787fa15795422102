package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/store"
)

func (a *app) mailboxCommand() *cobra.Command {
	list := a.command(spec{
		use: "list", short: "List the mailboxes: how each fares and how far it is behind",
		long:    `The mailboxes that are most behind come first. STATE is ok, new, failing, passive (not polled itself) or disabled.`,
		example: "  postroom mailbox list\n  postroom mailbox list --output json | jq '.[] | select(.state == \"failing\")'",
		args:    cobra.NoArgs, run: func(ctx context.Context, _ []string) error { return a.withDB(ctx, true, a.mailboxList) },
	})
	show := a.command(spec{
		use: "show NAME", short: "Show a mailbox: folders, counts, what is pending, the last error",
		example: "  postroom mailbox show support\n  postroom mailbox show 17 --output json",
		args:    cobra.ExactArgs(1), run: func(ctx context.Context, args []string) error {
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, cfg *config.Config) error {
				return a.mailboxShow(ctx, db, cfg, args[0])
			})
		},
	})
	return group("mailbox", "Look at mailboxes and poll them", "  postroom mailbox list\n  postroom mailbox show support", list, show, a.pollCommand())
}

func (a *app) mailboxList(ctx context.Context, db *store.DB, cfg *config.Config) error {
	views, err := db.MailboxViews(ctx, cfg.Scheduler.StaleAfter)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.printJSON(rowsOf(views))
	}
	t := table{header: []string{"NAME", "KIND", "STATE", "BEHIND", "LAST SUCCESS", "NEXT POLL", "NOTE"}, flex: 6}
	for i := range views {
		v := &views[i]
		t.add(v.Name, v.Kind, string(v.State), behind(v), at(v.LastSuccessAt), next(v), note(v))
	}
	return a.print(t.text(a.columns()))
}

func behind(v *store.MailboxView) string {
	if v.BehindSeconds == 0 {
		return ""
	}
	return ago(time.Duration(v.BehindSeconds) * time.Second)
}

func next(v *store.MailboxView) string {
	if v.Polling {
		return "polling now"
	}
	return at(v.NextPollAt)
}

// note is what an admin must not miss about a mailbox.
func note(v *store.MailboxView) string {
	var notes []string
	if v.Trust == string(mailbox.Off) || v.Trust == string(mailbox.Warn) {
		notes = append(notes, "trust "+v.Trust)
	}
	if v.ErrorText != "" {
		notes = append(notes, v.ErrorText)
	}
	return strings.Join(notes, "; ")
}

// mailboxDetail is what mailbox show prints.
type mailboxDetail struct {
	store.MailboxView
	Aliases             []string            `json:"aliases"`
	Username            string              `json:"username"`
	PollIntervalSeconds int64               `json:"poll_interval_seconds"`
	Disposition         string              `json:"disposition"`
	DeleteAfterSeconds  int64               `json:"delete_after_seconds"`
	MoveTo              string              `json:"move_to"`
	Folders             []store.FolderView  `json:"folders"`
	Receipts            store.Tally         `json:"receipts"`
	Met                 store.SightingTally `json:"met"`
}

func (a *app) mailboxShow(ctx context.Context, db *store.DB, cfg *config.Config, name string) error {
	d, err := readMailbox(ctx, db, cfg.Scheduler.StaleAfter, name)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.printJSON(d)
	}
	return a.print(d.text(a.columns()))
}

func readMailbox(ctx context.Context, db *store.DB, staleAfter time.Duration, name string) (*mailboxDetail, error) {
	m, err := db.Mailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &mailboxDetail{
		Aliases: rowsOf(m.Aliases), Username: m.Username, PollIntervalSeconds: int64(m.PollInterval / time.Second),
		Disposition: string(m.Disposition), DeleteAfterSeconds: int64(m.DeleteAfter / time.Second), MoveTo: m.MoveTo,
	}
	if d.MailboxView, err = viewOf(ctx, db, staleAfter, m.ID); err != nil {
		return nil, err
	}
	if d.Folders, err = db.Folders(ctx, m.ID); err != nil {
		return nil, err
	}
	d.Folders = rowsOf(d.Folders)
	if d.Receipts, err = db.TallyOf(ctx, m.ID, time.Time{}); err != nil {
		return nil, err
	}
	d.Met, err = db.SightingsOf(ctx, m.ID)
	return d, err
}

// viewOf returns how one mailbox fares.
func viewOf(ctx context.Context, db *store.DB, staleAfter time.Duration, mailboxID int64) (store.MailboxView, error) {
	views, err := db.MailboxViews(ctx, staleAfter)
	if err != nil {
		return store.MailboxView{}, err
	}
	for _, v := range views {
		if v.MailboxID == mailboxID {
			return v, nil
		}
	}
	return store.MailboxView{}, fmt.Errorf("mailbox %d: %w", mailboxID, store.ErrNoRecord)
}

// text shows the mailbox, its folders in a table of at most limit columns.
func (d *mailboxDetail) text(limit int) string {
	var f fields
	f.add("mailbox", "%s (%s, id %d)", d.Name, d.Kind, d.MailboxID)
	f.add("address", "%s", strings.Join(append([]string{d.Address}, d.Aliases...), ", "))
	f.add("state", "%s", d.State)
	f.add("incoming", "%s", d.Incoming)
	f.add("trust", "%s", d.Trust)
	if d.Host != "" {
		f.add("server", "%s on %s (profile %s), user %s", d.Protocol, d.Host, d.Profile, d.Username)
		f.add("poll interval", "%s", time.Duration(d.PollIntervalSeconds)*time.Second)
		f.add("disposition", "%s", d.dispositionText())
		f.add("last poll", "%s", at(d.LastPollAt))
		f.add("last success", "%s", at(d.LastSuccessAt))
		f.add("next poll", "%s", next(&d.MailboxView))
		f.add("behind", "%s", behind(&d.MailboxView))
	}
	if d.ErrorText != "" {
		f.add("error", "%s (%s, %s)", d.ErrorText, d.ErrorCode, d.ErrorClass)
		in := ""
		if d.Failures > 1 {
			in = " in a row"
		}
		f.add("since", "%s, %s%s", at(d.ErrorSince), count(d.Failures, "failure", "failures"), in)
		f.add("hint", "%s", d.ErrorHint)
	}
	r := d.Receipts
	f.add("receipts", "%d recorded, %d duplicate, %d ignored, %d quarantined, %d to be decided, %d from before the start",
		r.Recorded, r.Duplicate, r.Ignored, r.Quarantined, r.Stored, r.Baseline)
	if r.Due+r.Copied > 0 {
		f.add("pending", "%s to be dealt with, %d copied and to be deleted", count(int(r.Due), "server copy", "server copies"), r.Copied)
	}
	f.add("met here", "%d e-mails%s", d.Met.Sightings, prefixed(", last ", at(d.Met.LastAt)))
	text := f.b.String()
	if len(d.Folders) == 0 {
		return text
	}
	t := table{header: []string{"FOLDER", "MESSAGES", "UIDVALIDITY", "NEXT UID", "MISSED", "LISTED", "START"}}
	for _, c := range d.Folders {
		start := "all"
		if c.StartAt != nil {
			start = at(c.StartAt)
		}
		t.add(c.Name, number(c.Messages), number(c.UIDValidity), number(c.UIDNext), strconv.FormatInt(c.Missed, 10), at(c.ListedAt), start)
	}
	return text + "\n" + t.text(limit)
}

func (d *mailboxDetail) dispositionText() string {
	switch mailbox.Disposition(d.Disposition) {
	case mailbox.Delete:
		return fmt.Sprintf("delete after %s", time.Duration(d.DeleteAfterSeconds)*time.Second)
	case mailbox.Move:
		return "move to " + d.MoveTo
	default:
		return d.Disposition
	}
}

func number(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
