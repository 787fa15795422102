package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/store"
)

// lookEvery is how often poll --wait looks whether the poll has ended.
const lookEvery = 100 * time.Millisecond

func (a *app) pollCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	c := a.command(spec{
		use: "poll NAME", short: "Make a mailbox due at once",
		long: `Asks the daemons to poll a mailbox as soon as one has a free worker. A poll that runs already is followed by another
one. With --wait the command ends when that poll has, prints what came of it, and exits 1 if it failed.`,
		example: "  postroom mailbox poll support\n  postroom mailbox poll support --wait --timeout 2m",
		args:    cobra.ExactArgs(1),
		run: func(ctx context.Context, args []string) error {
			if timeout <= 0 {
				return misused("--timeout must be longer than 0s")
			}
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, cfg *config.Config) error {
				return a.poll(ctx, db, cfg, args[0], wait, timeout)
			})
		},
	})
	c.Flags().BoolVar(&wait, "wait", false, "wait until the poll has ended and print its result")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait, with its unit")
	return c
}

// pollResult is what mailbox poll prints. Only Mailbox and Due are set without --wait.
type pollResult struct {
	Mailbox    string       `json:"mailbox"`
	Due        bool         `json:"due"`
	Polled     bool         `json:"polled"`
	OK         bool         `json:"ok"`
	Receipts   *store.Tally `json:"receipts"` // those that are new since the poll was asked for
	ErrorClass string       `json:"error_class"`
	ErrorCode  string       `json:"error_code"`
	ErrorText  string       `json:"error_text"`
	ErrorHint  string       `json:"error_hint"`
}

func (a *app) poll(ctx context.Context, db *store.DB, cfg *config.Config, name string, wait bool, timeout time.Duration) error {
	m, err := db.Mailbox(ctx, name)
	if err != nil {
		return err
	}
	if err := mayPoll(m); err != nil {
		return err
	}
	var mark store.PollMark
	if wait {
		if err := anyDaemon(ctx, db, cfg.Scheduler.StaleAfter); err != nil {
			return err
		}
		if mark, err = db.PollMarkOf(ctx, m.ID); err != nil {
			return err
		}
	}
	if err := db.PollNow(ctx, m.ID); err != nil {
		return err
	}
	r := pollResult{Mailbox: m.Name, Due: true}
	if wait {
		if err := awaitPoll(ctx, db, m.ID, mark, timeout); err != nil {
			return err
		}
		if err := r.fill(ctx, db, cfg.Scheduler.StaleAfter, m.ID, mark.Now); err != nil {
			return err
		}
	}
	return a.printPoll(r)
}

// mayPoll fails if the mailbox is not one that is polled.
func mayPoll(m *mailbox.Mailbox) error {
	var hint, why string
	switch {
	case m.Incoming == mailbox.ForwardMailbox:
		hint, why = "poll the forward mailbox", "its mail comes by a forward mailbox"
	case m.Incoming != mailbox.ServerSide:
		hint, why = "apply it with a profile to poll it", "incoming is "+string(m.Incoming)
	case !m.Enabled:
		hint, why = "apply it with enabled: true", "it is disabled"
	default:
		return nil
	}
	return fault.New(fault.Permanent, "not_polled", hint, fmt.Errorf("mailbox %q (id %d) is not polled: %s", m.Name, m.ID, why))
}

// anyDaemon fails if no daemon lives, because nobody would poll.
func anyDaemon(ctx context.Context, db *store.DB, staleAfter time.Duration) error {
	daemons, err := db.Daemons(ctx)
	if err != nil {
		return err
	}
	for _, d := range daemons {
		if d.Silent < staleAfter {
			return nil
		}
	}
	return fault.New(fault.Permanent, "no_daemon", "start postroom serve", errors.New("no daemon is running, so nobody would poll"))
}

// awaitPoll waits until a poll that began after mark has ended.
func awaitPoll(ctx context.Context, db *store.DB, mailboxID int64, mark store.PollMark, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		now, err := db.PollMarkOf(ctx, mailboxID)
		if err == nil && (now.Token > mark.Token+1 || now.Token == mark.Token+1 && !now.Claimed) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fault.New(fault.Transient, "poll_not_ended", "postroom mailbox show tells how it fares; --timeout waits longer",
					fmt.Errorf("the poll did not end within %s; it is still asked for", timeout))
			}
			return ctx.Err()
		}
	}
}

func (r *pollResult) fill(ctx context.Context, db *store.DB, staleAfter time.Duration, mailboxID int64, asked time.Time) error {
	v, err := viewOf(ctx, db, staleAfter, mailboxID)
	if err != nil {
		return err
	}
	t, err := db.TallyOf(ctx, mailboxID, asked)
	if err != nil {
		return err
	}
	r.Polled, r.OK, r.Receipts = true, v.ErrorClass == "", &t
	r.ErrorClass, r.ErrorCode, r.ErrorText, r.ErrorHint = v.ErrorClass, v.ErrorCode, v.ErrorText, v.ErrorHint
	return nil
}

func (a *app) printPoll(r pollResult) error {
	switch {
	case a.isJSON():
		if err := a.printJSON(r); err != nil {
			return err
		}
	case !r.Polled:
		return a.print(clean(r.Mailbox) + " is due now\n")
	case r.OK:
		return a.print(fmt.Sprintf("%s was polled: %d recorded, %d duplicate, %d ignored, %d quarantined, %d to be decided\n", clean(r.Mailbox),
			r.Receipts.Recorded, r.Receipts.Duplicate, r.Receipts.Ignored, r.Receipts.Quarantined, r.Receipts.Stored))
	default:
		a.complain(fmt.Sprintf("the poll of %s failed: %s (%s, %s)", r.Mailbox, r.ErrorText, r.ErrorCode, r.ErrorClass), r.ErrorHint)
	}
	if r.Polled && !r.OK {
		return errTold
	}
	return nil
}
