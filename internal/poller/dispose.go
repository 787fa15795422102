package poller

import (
	"context"
	"slices"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// disposeBatch is how many dispositions are ordered at once.
const disposeBatch = 500

// dispose carries out the dispositions that are due, of committed receipts only. What the server does not confirm is
// ordered again at a later poll.
func (r *run) dispose(ctx context.Context, cursors []mailbox.Cursor) error {
	if r.KeepCopies != "" || (r.mailbox.Disposition == mailbox.Leave && r.mailbox.Undeliverable == "") {
		return nil
	}
	for _, c := range cursors {
		for !r.late() {
			due, err := r.Disposer.DueDispositions(ctx, c.FolderID, disposeBatch)
			if err != nil {
				return err
			}
			confirmed, err := r.disposeSome(ctx, due)
			if err != nil {
				return err
			}
			// On POP3 Dispose ends the session; on IMAP a round that confirms nothing would be followed by the same.
			if len(due) < disposeBatch || confirmed == 0 || r.mailbox.Profile.Protocol == mailbox.POP3 {
				break
			}
		}
	}
	return nil
}

// disposeSome orders the dispositions that are due and writes how far they came.
func (r *run) disposeSome(ctx context.Context, due []receipt.Due) (confirmed int, err error) {
	orders := r.orders(due)
	if len(orders) == 0 {
		return 0, nil
	}
	answers, err := r.session.Dispose(ctx, orders)
	answers = slices.DeleteFunc(answers, func(d source.Disposed) bool {
		if d.Done == source.DoneNot {
			r.Log.Warn("the server's copy could not be disposed of: it is tried again", "mailbox_id", r.mailbox.ID,
				"receipt_id", d.ReceiptID, "error", d.Err)
		}
		return d.Done == source.DoneNot
	})
	if len(answers) > 0 { // also after an error: what was confirmed is confirmed
		if err := r.Disposer.MarkDisposed(ctx, r.lease, answers); err != nil {
			return 0, err
		}
	}
	r.out.Disposed += len(answers)
	return len(answers), err
}

// orders turns what is due into orders to this session. A message of a maildrop that this session's listing does not
// show is left: the next complete listing closes its receipt.
func (r *run) orders(due []receipt.Due) []source.Order {
	orders := make([]source.Order, 0, len(due))
	for _, d := range due {
		disposition, target := r.mailbox.DispositionOf(string(d.Outcome))
		order := source.Order{ReceiptID: d.ReceiptID, Ref: d.Ref, Target: target, Copied: d.Copied}
		switch disposition {
		case mailbox.Delete:
			order.Action = source.Delete
		case mailbox.Move:
			order.Action = source.Move
		case mailbox.Leave:
			continue // the record was changed since
		}
		if r.mailbox.Profile.Protocol == mailbox.POP3 {
			ref, shown := r.shown[idKey{d.Digest, d.Ordinal}]
			if !shown || ref.Octets != d.Ref.Octets {
				continue
			}
			order.Ref = ref
		}
		orders = append(orders, order)
	}
	return orders
}
