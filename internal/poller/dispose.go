package poller

import (
	"context"
	"errors"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// disposeBatch is how many dispositions are ordered at once.
const disposeBatch = 500

// dispose carries out the dispositions that are due, of committed receipts only. What the server does not confirm is
// ordered again at a later poll. What it will never do without a person is an error in the end; other folders go first.
func (r *run) dispose(ctx context.Context, folderIDs []int64) error {
	if r.KeepCopies != "" || (r.mailbox.Disposition == mailbox.Leave && r.mailbox.Undeliverable == "") {
		return nil
	}
	var stuck []error
	for _, folderID := range folderIDs {
		for !r.late() {
			due, err := r.Disposer.DueDispositions(ctx, folderID, disposeBatch)
			if err != nil {
				return err
			}
			marked, refused, err := r.disposeSome(ctx, due)
			if err != nil {
				return err
			}
			stuck = append(stuck, refused)
			// On POP3 Dispose ends the session; a round after which nothing is marked would be followed by the same.
			if len(due) < disposeBatch || marked == 0 || r.mailbox.Profile.Protocol == mailbox.POP3 {
				break
			}
		}
	}
	return errors.Join(stuck...)
}

// disposeSome orders the dispositions that are due and marks how far they came. Refused is a refusal that does not go
// away by itself, nil if there is none.
func (r *run) disposeSome(ctx context.Context, due []receipt.Due) (marked int, refused, err error) {
	orders := r.orders(due)
	if len(orders) == 0 {
		return 0, nil, nil
	}
	if r.session == nil { // the last message that was fetched broke it
		if err := r.connect(ctx); err != nil {
			return 0, nil, err
		}
	}
	var answers []source.Disposed
	err = r.network(ctx, func(ctx context.Context) (err error) {
		answers, err = r.session.Dispose(ctx, orders)
		return err
	})
	var mark, left []source.Disposed
	for _, d := range answers {
		if d.Done != source.DoneNot {
			mark = append(mark, d)
			continue
		}
		left = append(left, d)
		if refused == nil && fault.ClassOf(d.Err) == fault.Permanent {
			refused = fault.Wrap(d.Err, "dispose of copies on the server")
		}
	}
	if len(left) > 0 {
		r.Log.Warn("copies on the server could not be disposed of: it is tried again", "mailbox_id", r.mailbox.ID,
			"messages", len(left), "first_receipt_id", left[0].ReceiptID, "error", left[0].Err)
	}
	confirmed := len(mark)
	if err == nil && len(due) == disposeBatch { // others may wait behind them: let these wait a while
		mark = append(mark, left...)
	}
	if len(mark) > 0 { // also after an error: what was confirmed is confirmed
		if err := r.markDisposed(ctx, mark); err != nil {
			return 0, nil, err
		}
	}
	r.out.Disposed += confirmed
	r.progress += confirmed
	return len(mark), refused, err
}

// markDisposed writes how far orders came, also when the poll's time is over meanwhile.
func (r *run) markDisposed(ctx context.Context, answers []source.Disposed) error {
	ctx, cancel := r.lasting(ctx)
	defer cancel()
	return r.Disposer.MarkDisposed(ctx, r.lease, answers)
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
