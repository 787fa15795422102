package pop3

import (
	"context"
	"fmt"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// Dispose deletes messages and ends the session, even when it fails. It returns one Disposed for each order, in their
// order.
//
// An order is carried out only if this session's complete listing shows its unique-id with its size exactly once. It is
// DoneYes only when the server has accepted its DELE and then answered QUIT with +OK, for only then does a server delete
// (RFC 1939 §6); without that answer it is DoneNot, and asked for again at a later poll. A message that the listing no
// longer shows is DoneGone.
func (s *Session) Dispose(ctx context.Context, orders []source.Order) ([]source.Disposed, error) {
	disposed := make([]source.Disposed, len(orders))
	for i, order := range orders {
		disposed[i].ReceiptID = order.ReceiptID
	}
	if s.ended {
		return disposed, errEnded()
	}
	defer s.drop()
	if !s.listed {
		if _, err := s.list(ctx); err != nil {
			return disposed, err
		}
	}
	d := deletion{s: s, orders: orders, disposed: disposed, of: map[int32][]int{}}
	d.choose()
	accepted, err := d.mark(ctx)
	if err != nil {
		return disposed, fmt.Errorf("DELE: %w", err)
	}
	return disposed, d.quit(ctx, accepted)
}

// deletion is one Dispose.
type deletion struct {
	s        *Session
	orders   []source.Order
	disposed []source.Disposed
	numbers  []int32         // to be deleted, each once
	of       map[int32][]int // number to the orders that ask for it
}

// choose finds the messages that may be deleted, and answers the orders whose message may not.
func (d *deletion) choose() {
	refs := make([]source.Ref, len(d.orders))
	for i, order := range d.orders {
		refs[i] = order.Ref
	}
	for i, m := range d.s.byIdentity(refs) {
		out := &d.disposed[i]
		switch {
		case d.orders[i].Action != source.Delete:
			out.Err = fault.New(fault.Permanent, "action_unsupported", "choose leave or delete: POP3 has no folders to move mail to",
				fmt.Errorf("%s: POP3 can only delete", d.orders[i].Action))
		case !d.s.complete:
			out.Err = errNotComplete()
		case m.exact == 0:
			out.Done = source.DoneGone
		case m.uniqueID > 1:
			out.Err = fault.New(fault.Permanent, "unique_id_ambiguous",
				"delete the message by hand: the server gives several messages the same unique-id",
				fmt.Errorf("%d messages have its unique-id", m.uniqueID))
		default:
			if _, ok := d.of[m.entry.number]; !ok {
				d.numbers = append(d.numbers, m.entry.number)
			}
			d.of[m.entry.number] = append(d.of[m.entry.number], i)
		}
	}
}

// mark sends DELE for each number, and returns those that the server accepted.
func (d *deletion) mark(ctx context.Context) (accepted []int32, err error) {
	err = d.s.run(ctx, pipe{
		count:   len(d.numbers),
		command: func(b []byte, i int) []byte { return numbered(b, "DELE", int(d.numbers[i])) },
		octets:  oneLine,
		read: func(i int) error {
			r, err := d.s.wire.status()
			switch {
			case err != nil:
				return err
			case r.ok:
				accepted = append(accepted, d.numbers[i])
			default:
				d.answer(d.numbers[i], source.DoneNot,
					r.fault("DELE", fault.Transient, "dele_refused", "look at this message on the server: it does not let it be deleted"))
			}
			return nil
		},
	})
	return accepted, err
}

// quit sends QUIT, by which the server deletes.
func (d *deletion) quit(ctx context.Context, accepted []int32) error {
	patience := d.s.timeout + time.Duration(len(accepted))*perDeletion
	r, err := d.s.simple(ctx, patience, d.s.client.Quit)
	if err == nil && !r.ok {
		err = r.fault("QUIT", fault.Transient, "quit_refused", "the server did not delete what it was asked to: look at its log")
	}
	if err != nil {
		return fmt.Errorf("QUIT: %w", err)
	}
	for _, number := range accepted {
		d.answer(number, source.DoneYes, nil)
	}
	return nil
}

func (d *deletion) answer(number int32, done source.Done, err error) {
	for _, i := range d.of[number] {
		d.disposed[i].Done, d.disposed[i].Err = done, err
	}
}
