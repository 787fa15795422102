package poller

import (
	"context"
	"slices"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// damagedWait is how long a message waits whose kept octets cannot be read: a person has to restore them.
const damagedWait = time.Hour

// again has messages decided whose octets are stored already: those of all folders that the mailbox has ever watched.
func (r *run) again(ctx context.Context) error {
	for !r.late() {
		stored, err := r.Ledger.StoredDue(ctx, r.mailbox.ID, r.BatchSize)
		if err != nil || len(stored) == 0 {
			return err
		}
		// One batch is of one folder; the rest is due all the same.
		stored = slices.DeleteFunc(stored, func(s receipt.Stored) bool { return s.FolderID != stored[0].FolderID })
		n := r.batch(len(stored), func(i int) int64 { return stored[i].RawOctets })
		if err := r.decideAgain(ctx, stored[:n]); err != nil {
			return err
		}
	}
	return nil
}

// decideAgain has messages of one folder decided. One whose octets are damaged stays stored, and waits.
func (r *run) decideAgain(ctx context.Context, stored []receipt.Stored) error {
	var octets int64
	for _, s := range stored {
		octets += s.RawOctets
	}
	release, err := r.reserve(ctx, octets)
	if err != nil {
		return err
	}
	defer release()
	b := pipeline.Batch{FolderID: stored[0].FolderID}
	for _, s := range stored {
		raw, err := r.kept(ctx, s)
		if err != nil {
			closeAll(b.Arrivals)
			return err
		}
		if raw == nil {
			continue
		}
		b.Arrivals = append(b.Arrivals, pipeline.Arrival{
			Ref: s.Ref, Generation: s.Generation, Ordinal: s.Ordinal, SeenAt: s.SeenAt,
			Raw: raw, ReceiptID: s.ReceiptID, Tries: s.Tries,
		})
	}
	if len(b.Arrivals) == 0 {
		return nil
	}
	return r.write(ctx, b)
}

// kept returns the octets of a stored message, or nil if they are damaged.
func (r *run) kept(ctx context.Context, s receipt.Stored) (*source.Raw, error) {
	raw, err := r.Octets.Spool(ctx, s.RawID, 0, s.RawOctets, r.SpoolDir)
	if err == nil {
		return raw, nil
	}
	switch _, code, _, hint := fault.Describe(err); code {
	case "raw_missing", "raw_corrupt", "raw_range":
		r.Log.Error("the kept octets of a message cannot be read: its decision waits", "mailbox_id", r.mailbox.ID,
			"receipt_id", s.ReceiptID, "wait", damagedWait, "error", err, "hint", hint)
		return nil, r.Ledger.Postpone(ctx, r.lease, s.ReceiptID, damagedWait)
	}
	return nil, fault.Wrap(err, "read the octets of receipt %d again", s.ReceiptID)
}
