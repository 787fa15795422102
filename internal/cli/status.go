package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/store"
)

const (
	behindTooLong = time.Hour // a person should know, even if the fault may go away by itself
	mostBehind    = 10        // mailboxes that status names as behind
	mostFailing   = 20        // mailboxes that status names as failing
)

func (a *app) statusCommand() *cobra.Command {
	return a.command(spec{
		use: "status", short: "Show at a glance what is behind, what failed and what to do",
		long: `Exits 1 when a person is needed: mailboxes are to be polled and no daemon lives; a mailbox fails in a way that does not
go away by itself (class auth or permanent); a mailbox is more than an hour behind. Mail in quarantine is shown and
does not make it exit 1: it is kept, and waits.`,
		example: "  postroom status\n  postroom status --output json | jq .problems",
		args:    cobra.NoArgs, run: func(ctx context.Context, _ []string) error { return a.withDB(ctx, true, a.status) },
	})
}

// overview is what status prints.
type overview struct {
	OK          bool                `json:"ok"`
	Problems    []problem           `json:"problems"`
	Daemons     []daemonView        `json:"daemons"`
	Mailboxes   moodCounts          `json:"mailboxes"`
	Behind      []store.MailboxView `json:"behind"`  // the most behind, up to 10
	Failing     []store.MailboxView `json:"failing"` // the most behind of them, up to 20; mailboxes.failing counts all
	Quarantined int64               `json:"quarantined"`
	Quarantine  []quarantineCount   `json:"quarantine"`
	Durable     bool                `json:"durable"`
	DurableWhy  string              `json:"durable_why"` // why not

	refused []store.MailboxView // those that fail in a way that does not go away by itself, all of them
}

// problem is something for which a person is needed.
type problem struct {
	Code    string `json:"code"`
	Class   string `json:"class"` // of the mailbox's last failure, "" without one
	Mailbox string `json:"mailbox"`
	Text    string `json:"text"`
	Hint    string `json:"hint"`
}

type daemonView struct {
	DaemonID    string    `json:"daemon_id"`
	Host        string    `json:"host"`
	PID         int       `json:"pid"`
	Version     string    `json:"version"`
	StartedAt   time.Time `json:"started_at"`
	HeartbeatAt time.Time `json:"heartbeat_at"`
	Alive       bool      `json:"alive"`
	Polling     int       `json:"polling"` // mailboxes
}

type moodCounts struct {
	Total    int `json:"total"`
	OK       int `json:"ok"`
	New      int `json:"new"`
	Failing  int `json:"failing"`
	Passive  int `json:"passive"`
	Disabled int `json:"disabled"`
}

type quarantineCount struct {
	Reason   string    `json:"reason"`
	Count    int64     `json:"count"`
	OldestAt time.Time `json:"oldest_at"`
}

func (a *app) status(ctx context.Context, db *store.DB, cfg *config.Config) error {
	o, err := look(ctx, db, cfg.Scheduler.StaleAfter)
	if err != nil {
		return err
	}
	if a.isJSON() {
		err = a.printJSON(o)
	} else {
		err = a.print(o.text())
	}
	if err == nil && !o.OK {
		return errTold
	}
	return err
}

func look(ctx context.Context, db *store.DB, staleAfter time.Duration) (*overview, error) {
	o := &overview{
		Problems: []problem{}, Daemons: []daemonView{}, Behind: []store.MailboxView{}, Failing: []store.MailboxView{},
		Quarantine: []quarantineCount{},
	}
	daemons, err := db.Daemons(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range daemons {
		o.Daemons = append(o.Daemons, daemonView{
			DaemonID: d.ID.String(), Host: d.Host, PID: d.PID, Version: d.Version, StartedAt: d.StartedAt,
			HeartbeatAt: d.HeartbeatAt, Alive: d.Silent < staleAfter, Polling: d.Leases,
		})
	}
	views, err := db.MailboxViews(ctx, staleAfter)
	if err != nil {
		return nil, err
	}
	o.count(views)
	groups, err := db.Quarantine(ctx, "", 0, 0)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		o.Quarantined += g.Count
		o.Quarantine = append(o.Quarantine, quarantineCount{Reason: g.Reason, Count: g.Count, OldestAt: g.OldestAt})
	}
	if o.Durable, o.DurableWhy, err = db.Durable(ctx); err != nil {
		return nil, err
	}
	o.judge()
	return o, nil
}

// count sorts the mailboxes; views has the most behind first.
func (o *overview) count(views []store.MailboxView) {
	o.Mailboxes.Total = len(views)
	for _, v := range views {
		switch v.State {
		case store.MoodOK:
			o.Mailboxes.OK++
		case store.MoodNew:
			o.Mailboxes.New++
		case store.MoodFailing:
			o.Mailboxes.Failing++
			if len(o.Failing) < mostFailing {
				o.Failing = append(o.Failing, v)
			}
			if class := fault.Class(v.ErrorClass); class == fault.Auth || class == fault.Permanent {
				o.refused = append(o.refused, v)
			}
		case store.MoodPassive:
			o.Mailboxes.Passive++
		case store.MoodDisabled:
			o.Mailboxes.Disabled++
		}
		if v.BehindSeconds > 0 && len(o.Behind) < mostBehind {
			o.Behind = append(o.Behind, v)
		}
	}
}

// judge finds what a person is needed for.
func (o *overview) judge() {
	polled := o.Mailboxes.OK + o.Mailboxes.New + o.Mailboxes.Failing
	alive := slices.ContainsFunc(o.Daemons, func(d daemonView) bool { return d.Alive })
	if polled > 0 && !alive {
		o.Problems = append(o.Problems, problem{Code: "no_daemon", Text: "no daemon is running, so nobody polls " + count(polled, "mailbox", "mailboxes"), Hint: "start postroom serve"})
	}
	for _, v := range o.refused {
		o.Problems = append(o.Problems, problem{Code: v.ErrorCode, Class: v.ErrorClass, Mailbox: v.Name, Text: v.ErrorText, Hint: v.ErrorHint})
	}
	for _, v := range o.Behind {
		late := time.Duration(v.BehindSeconds) * time.Second
		told := slices.ContainsFunc(o.Problems, func(p problem) bool { return p.Mailbox == v.Name })
		if late <= behindTooLong || told || !alive {
			continue
		}
		p := problem{Code: "mailbox_behind", Class: v.ErrorClass, Mailbox: v.Name, Text: ago(late) + " behind", Hint: v.ErrorHint}
		if v.ErrorText != "" {
			p.Text += ": " + v.ErrorText
		}
		o.Problems = append(o.Problems, p)
	}
	o.OK = len(o.Problems) == 0
}

func (o *overview) text() string {
	var f fields
	o.daemonsText(&f)
	m := o.Mailboxes
	f.add("mailboxes", "%d: %d ok, %d new, %d failing, %d passive, %d disabled", m.Total, m.OK, m.New, m.Failing, m.Passive, m.Disabled)
	for _, v := range o.Behind {
		if v.State != store.MoodFailing { // those are named below
			f.line("  %s is %s behind: waits for its turn", v.Name, behind(&v))
		}
	}
	o.failingText(&f)
	var held []string
	for _, q := range o.Quarantine {
		held = append(held, fmt.Sprintf("%d %s", q.Count, q.Reason))
	}
	f.add("quarantine", "%d%s", o.Quarantined, prefixed(": ", strings.Join(held, ", ")))
	if o.Quarantined > 0 {
		f.line("  hint: postroom quarantine list")
	}
	if !o.Durable {
		f.add("durability", "%s", o.DurableWhy)
		f.line("  a crash may lose what was recorded, so nothing is deleted or moved on servers")
	}
	o.problemsText(&f)
	return f.b.String()
}

func (o *overview) daemonsText(f *fields) {
	alive := 0
	for _, d := range o.Daemons {
		if d.Alive {
			alive++
		}
	}
	f.add("daemons", "%d alive, %d stale", alive, len(o.Daemons)-alive)
	for _, d := range o.Daemons {
		state := fmt.Sprintf("polling %d", d.Polling)
		if !d.Alive {
			state = "stale, last heard " + at(&d.HeartbeatAt)
		}
		f.line("  %s, process %d, version %s, since %s, %s", d.Host, d.PID, d.Version, at(&d.StartedAt), state)
	}
}

// failingText names the mailboxes that fail, also those whose fault may go away by itself.
func (o *overview) failingText(f *fields) {
	if len(o.Failing) == 0 {
		return
	}
	f.line("failing:")
	for _, v := range o.Failing {
		f.line("  %s: %s (%s, %s)", v.Name, v.ErrorText, v.ErrorCode, v.ErrorClass)
		f.line("    %s%s%s%s", count(v.Failures, "failure", "failures"), prefixed(" since ", at(v.ErrorSince)), prefixed(", behind ", behind(&v)), nextTry(&v))
		if v.ErrorHint != "" {
			f.line("    hint: %s", v.ErrorHint)
		}
	}
	if more := o.Mailboxes.Failing - len(o.Failing); more > 0 {
		f.line("  … and %d more: postroom mailbox list", more)
	}
}

func nextTry(v *store.MailboxView) string {
	if v.Polling {
		return ", polling now"
	}
	return prefixed(", next try ", at(v.NextPollAt))
}

// problemsText says what a person is needed for.
func (o *overview) problemsText(f *fields) {
	if o.OK {
		text := "nothing needs you"
		if o.Mailboxes.Failing > 0 {
			text += ": what fails is tried again"
		}
		f.line("%s", text)
		return
	}
	f.line("")
	f.line("needs you:")
	for i, p := range o.Problems {
		if i == mostFailing {
			f.line("  … and %d more: postroom status --output json", len(o.Problems)-i)
			break
		}
		f.line("  %s%s (%s%s)", prefixed("", p.Mailbox)+map[bool]string{true: ": "}[p.Mailbox != ""], p.Text, p.Code, prefixed(", ", p.Class))
		if p.Hint != "" {
			f.line("    hint: %s", p.Hint)
		}
	}
}
