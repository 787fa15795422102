package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/store"
)

// ErrOutdated says that the records were changed after the plan was made. It comes with class Permanent and code
// plan_outdated.
var ErrOutdated = errors.New("the records were changed since the plan was made")

// Execute does what the plan says, in one transaction: all of it or nothing. It fails with ErrOutdated when the plan would
// be another one by now. Mailboxes that are new, enabled or changed are due at once.
func Execute(ctx context.Context, db *store.DB, p *Plan) error {
	if p.Empty() {
		return nil
	}
	return db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := store.LockRecords(ctx, tx); err != nil {
			return err
		}
		records, err := store.ReadRecords(ctx, tx)
		if err != nil {
			return err
		}
		t, err := resolve(records, p.desired)
		if err != nil {
			return err
		}
		if !p.equal(t.changes()) {
			return fault.New(fault.Permanent, "plan_outdated", "apply again: the plan is made anew", ErrOutdated)
		}
		return t.write(ctx, tx)
	})
}

// write writes what differs, records before those that refer to them.
func (t *target) write(ctx context.Context, tx pgx.Tx) error {
	for _, s := range t.profiles {
		if s.old == nil || len(changed(profilePairs(s.old), profilePairs(s.now))) > 0 {
			if err := store.PutProfile(ctx, tx, s.now); err != nil {
				return err
			}
		}
	}
	for _, s := range t.users {
		if s.old == nil || *s.old != *s.now {
			if err := store.PutUser(ctx, tx, s.now); err != nil {
				return err
			}
		}
	}
	for _, s := range t.queues {
		if s.owner != nil {
			s.now.OwnerID = s.owner.ID
		}
		if s.old == nil || *s.old != *s.now {
			if err := store.PutQueue(ctx, tx, s.now); err != nil {
				return err
			}
		}
	}
	return t.writeMailboxes(ctx, tx)
}

// writeMailboxes writes the mailboxes that differ, and those whose profile has another host: they watch other folders.
func (t *target) writeMailboxes(ctx context.Context, tx pgx.Tx) error {
	type change struct {
		now     *mailbox.Mailbox
		account bool
	}
	var list []change
	var ids []int64
	for i := range t.mailboxes {
		s := &t.mailboxes[i]
		if s.user != nil {
			s.now.RegardingID = s.user.ID
		}
		if s.queue != nil {
			s.now.RegardingID = s.queue.ID
		}
		another := s.old != nil && !strings.EqualFold(store.Account(s.old), store.Account(s.now))
		if another || t.moved[s.now.Profile] || s.old == nil || len(changed(mailboxPairs(s.old), mailboxPairs(s.now))) > 0 {
			list = append(list, change{s.now, another})
		}
	}
	for _, m := range t.rest {
		if m.Profile != nil && t.moved[m.Profile] {
			list = append(list, change{m, true})
		}
	}
	for _, c := range list {
		if c.now.ID != 0 {
			ids = append(ids, c.now.ID)
		}
	}
	if err := store.FreeClaims(ctx, tx, ids); err != nil {
		return err
	}
	ids = ids[:0]
	for _, c := range list {
		if err := store.PutMailbox(ctx, tx, c.now, c.account); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
		ids = append(ids, c.now.ID)
	}
	return store.MakeDue(ctx, tx, ids)
}
