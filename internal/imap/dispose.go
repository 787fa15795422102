package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// uidChunk is how many UIDs are named in one command, which keeps its line under 8192 octets (RFC 7162 section 4).
const uidChunk = 500

// Dispose carries out orders, and returns an answer to each, in any order. Each is carried out only while its folder has
// the order's UIDVALIDITY; a message that is not there any more is DoneGone, and so, with an error that says why, is one
// whose INTERNALDATE is another than the order's: the UID was given out again. What was deleted or moved is looked for
// afterwards, and is DoneYes only if it is gone.
//
// Without MOVE (RFC 6851) a move is a copy, which is DoneCopied: the caller writes that down, and a later order with
// Copied deletes the original. Without UIDPLUS (RFC 4315) messages are deleted only if nobody else has marked any in the
// folder, as EXPUNGE takes them all. A folder to move to is made if it is missing.
//
// The error is about the session; then orders that were not come to are DoneNot.
func (s *Session) Dispose(ctx context.Context, orders []source.Order) ([]source.Disposed, error) {
	d := &disposal{session: s, answers: make(map[int64]source.Disposed, len(orders))}
	byFolder := make(map[string][]source.Order)
	var names []string
	for _, order := range orders {
		if byFolder[order.Ref.Folder] == nil {
			names = append(names, order.Ref.Folder)
		}
		byFolder[order.Ref.Folder] = append(byFolder[order.Ref.Folder], order)
	}
	var err error
	for _, name := range names {
		if err = d.folder(ctx, name, byFolder[name]); err != nil {
			break
		}
	}
	answers := make([]source.Disposed, 0, len(orders))
	for _, order := range orders {
		answer, ok := d.answers[order.ReceiptID]
		if !ok {
			answer = source.Disposed{ReceiptID: order.ReceiptID, Err: err}
		}
		answers = append(answers, answer)
	}
	return answers, err
}

// disposal is one Dispose.
type disposal struct {
	session *Session
	answers map[int64]source.Disposed // by receipt
}

// answer notes what came of orders.
func (d *disposal) answer(orders []source.Order, done source.Done, err error) {
	for _, order := range orders {
		d.answers[order.ReceiptID] = source.Disposed{ReceiptID: order.ReceiptID, Done: done, Err: err}
	}
}

// refused notes a refusal, and returns an error that ended the session.
func (d *disposal) refused(orders []source.Order, err error) error {
	if d.session.over != nil {
		return d.session.over
	}
	d.answer(orders, source.DoneNot, err)
	return nil
}

// folder carries out the orders in one folder.
func (d *disposal) folder(ctx context.Context, name string, orders []source.Order) error {
	if err := d.session.open(ctx, name, true); err != nil {
		return d.refused(orders, err)
	}
	validity := d.session.folder.validity
	orders = slices.DeleteFunc(orders, func(o source.Order) bool {
		if o.Ref.UIDValidity == validity && o.Ref.UID != 0 {
			return false
		}
		d.answer([]source.Order{o}, source.DoneNot, fault.New(fault.Transient, "uidvalidity_changed", "the folder was made anew on the server: its messages are matched again first",
			fmt.Errorf("folder %q: UIDVALIDITY is %d, and was %d", name, validity, o.Ref.UIDValidity)))
		return true
	})
	there, certain, err := d.session.look(ctx, uidsOf(orders), true)
	if err != nil {
		return d.refused(orders, err)
	}
	var deletes []source.Order
	moves := make(map[string][]source.Order)
	for _, o := range orders {
		now := there[o.Ref.UID]
		switch {
		case now.number == 0 && certain:
			d.answer([]source.Order{o}, source.DoneGone, nil)
		case now.number == 0:
			d.answer([]source.Order{o}, source.DoneNot, d.session.unclear("a FETCH response came without the UID, or illegibly"))
		case !o.Ref.InternalDate.IsZero() && now.date.IsZero():
			d.answer([]source.Order{o}, source.DoneNot, d.session.unclear(fmt.Sprintf("uid %d has no date any more", o.Ref.UID)))
		case !o.Ref.InternalDate.IsZero() && !now.date.Equal(o.Ref.InternalDate):
			d.answer([]source.Order{o}, source.DoneGone, anotherMessage(o.Ref, now))
		case o.Action == source.Delete || (o.Action == source.Move && o.Copied):
			deletes = append(deletes, o)
		case o.Action == source.Move:
			moves[o.Target] = append(moves[o.Target], o)
		default:
			d.answer([]source.Order{o}, source.DoneNot, fault.New(fault.Permanent, "action_unknown", "", fmt.Errorf("action %q is unknown", o.Action)))
		}
	}
	for target, orders := range moves {
		for chunk := range slices.Chunk(orders, uidChunk) {
			if err := d.move(ctx, target, chunk); err != nil {
				return err
			}
		}
	}
	for chunk := range slices.Chunk(deletes, uidChunk) {
		if err := d.delete(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// anotherMessage is about a UID that was given out again, as by a server that was restored from a backup.
func anotherMessage(ref source.Ref, now found) error {
	return fault.New(fault.Permanent, "another_message", "the server gives out UIDs again, which RFC 3501 forbids: let its admin change the folder's UIDVALIDITY; the message is left as it is",
		fmt.Errorf("uid %d of folder %q has INTERNALDATE %s now, and had %s", ref.UID, ref.Folder, now.date.UTC().Format(time.RFC3339), ref.InternalDate.UTC().Format(time.RFC3339)))
}

// move moves messages, or copies them where the server cannot move.
func (d *disposal) move(ctx context.Context, target string, orders []source.Order) error {
	s := d.session
	if !validFolder(target) || target == s.folder.name {
		d.answer(orders, source.DoneNot, fault.New(fault.Permanent, "folder_name_invalid", "correct move_to of the mailbox: it must name another folder",
			fmt.Errorf("cannot move mail from folder %q to %q", s.folder.name, dial.ServerText(target))))
		return nil
	}
	uids := uidSet(uidsOf(orders))
	what := "MOVE"
	command := func() error { _, err := s.client.Move(uids, target).Wait(); return err }
	moves := s.caps.Has(imap.CapMove)
	if !moves {
		what = "COPY"
		command = func() error { _, err := s.client.Copy(uids, target).Wait(); return err }
	}
	what = fmt.Sprintf("%s to folder %q", what, target)
	err := s.run(ctx, what, s.timeout, commandOctets, want{}, command)
	if err != nil && s.over == nil && isRefusal(err, "folder_missing", "refused") {
		if created := s.run(ctx, fmt.Sprintf("CREATE %q", target), s.timeout, commandOctets, want{}, func() error { return s.client.Create(target, nil).Wait() }); created == nil {
			err = s.run(ctx, what, s.timeout, commandOctets, want{}, command)
		} else if s.over == nil && isRefusal(err, "folder_missing") {
			err = fault.New(fault.Permanent, "target_folder_missing", fmt.Sprintf("create folder %q on the mail server, or correct move_to of the mailbox", dial.ServerText(target)),
				errors.Join(err, created))
		}
	}
	if err != nil {
		return d.refused(orders, err)
	}
	if !moves {
		d.answer(orders, source.DoneCopied, nil)
		return nil
	}
	return d.verify(ctx, orders)
}

// delete removes messages for good.
func (d *disposal) delete(ctx context.Context, orders []source.Order) error {
	s := d.session
	uids := uidsOf(orders)
	plus := s.caps.Has(imap.CapUIDPlus)
	if !plus {
		if err := s.onlyOurs(ctx, uids); err != nil {
			return d.refused(orders, err)
		}
	}
	err := s.run(ctx, "STORE", s.timeout, commandOctets, want{}, func() error {
		return s.client.Store(uidSet(uids), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close()
	})
	if err == nil && !plus {
		err = s.onlyOurs(ctx, uids)
	}
	if err != nil {
		return d.refused(orders, err)
	}
	err = s.run(ctx, "EXPUNGE", s.timeout, commandOctets, want{}, func() error {
		if plus {
			return s.client.UIDExpunge(uidSet(uids)).Close()
		}
		return s.client.Expunge().Close()
	})
	if err != nil {
		return d.refused(orders, err)
	}
	return d.verify(ctx, orders)
}

// onlyOurs makes sure that of the messages in the folder none but uids are marked as deleted.
func (s *Session) onlyOurs(ctx context.Context, uids []uint32) error {
	marked, err := s.search(ctx, &imap.SearchCriteria{Flag: []imap.Flag{imap.FlagDeleted}})
	if err != nil {
		return err
	}
	others := 0
	for _, uid := range marked {
		if !slices.Contains(uids, uint32(uid)) {
			others++
		}
	}
	if others == 0 {
		return nil
	}
	return fault.New(fault.Permanent, "expunge_unsafe", "let the mail clients of this folder empty it of deleted messages, or use a server with UIDPLUS (RFC 4315)",
		fmt.Errorf("folder %q: the server has no UID EXPUNGE, and EXPUNGE would take along %d messages that others marked", s.folder.name, others))
}

// verify looks whether messages are gone.
func (d *disposal) verify(ctx context.Context, orders []source.Order) error {
	there, certain, err := d.session.look(ctx, uidsOf(orders), false)
	if err != nil {
		return d.refused(orders, err)
	}
	for _, o := range orders {
		done, err := source.DoneYes, error(nil)
		if there[o.Ref.UID].number == 0 && !certain {
			done, err = source.DoneNot, d.session.unclear("a FETCH response came without the UID, or illegibly")
		} else if there[o.Ref.UID].number != 0 {
			done, err = source.DoneNot, fault.New(fault.Transient, "still_there", "see the mail server's log, and the account's rights in the folder",
				fmt.Errorf("uid %d of folder %q is still there after the server said that it was removed", o.Ref.UID, o.Ref.Folder))
		}
		d.answer([]source.Order{o}, done, err)
	}
	return nil
}

func uidsOf(orders []source.Order) []uint32 {
	uids := make([]uint32, len(orders))
	for i, o := range orders {
		uids[i] = o.Ref.UID
	}
	return uids
}
