package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/store"
)

// headerOctets is how much of a quarantined message is read to show its header.
const headerOctets = 256 << 10

// reasonText says what a reason means, "" if it is unknown.
func reasonText(reason string) string {
	switch receipt.Reason(reason) {
	case receipt.TooLarge:
		return "larger than the profile's max_octets, only its header is kept"
	case receipt.Undeliverable:
		return "the server lists it and cannot hand it over"
	case receipt.Unreadable:
		return "a stage failed on it every time"
	case receipt.Unrecordable:
		return "PostgreSQL refused it, also when it was written alone"
	case receipt.NoOriginal:
		return "stands in a forward mailbox and holds no original"
	case receipt.Truncated:
		return "the wrapper is cut short, the original is not whole"
	case receipt.BoundaryCollision:
		return "original and wrapper share a boundary, where it ends is not certain"
	case receipt.TooManyParts:
		return "the wrapper has more parts than are read: an original could be missed"
	case receipt.Encrypted:
		return "the wrapper is encrypted"
	case receipt.UnknownRecipient:
		return "whose mail it is was not found"
	case receipt.EvidenceConflict:
		return "strong evidence names two recipients"
	case receipt.NotForwarding:
		return "the recipient's incoming method is not forward_mailbox"
	case receipt.Untrusted:
		return "the forward mailbox's trust policy is not met"
	case receipt.Journal:
		return "an Exchange journal report, which is not read yet"
	case receipt.TooManyVariants:
		return "many messages with other texts claim the same identity"
	case receipt.ListMail:
		return "a list or digest in a forward mailbox"
	case receipt.Deleted:
		return "its record was deleted or erased, and does not come back"
	case receipt.Vanished:
		return "taken away by another client before it was read"
	case receipt.NotAccepted:
		return "the recipient mailbox accepts nothing"
	case receipt.Report:
		return "a report about mail, not a user's mail"
	case receipt.AutoReply:
		return "an automatic reply to the forward mailbox"
	default:
		return ""
	}
}

func (a *app) quarantineCommand() *cobra.Command {
	show := a.command(spec{
		use: "show RECEIPT", short: "Show why a message is in quarantine, with its evidence and header",
		long: `Shows the receipt's steps and the fields of the message's header that tell where it comes from. Its text is not
shown, nor are the details of plus-addresses, which may be secret.`,
		example: "  postroom quarantine show 4711",
		args:    cobra.ExactArgs(1),
		run: func(ctx context.Context, args []string) error {
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, _ *config.Config) error {
				return a.quarantineShow(ctx, db, args[0])
			})
		},
	})
	return group("quarantine", "Look at mail that needs a person", "  postroom quarantine list\n  postroom quarantine show 4711", a.quarantineListCommand(), show)
}

func (a *app) quarantineListCommand() *cobra.Command {
	var reason, name string
	var limit int
	c := a.command(spec{
		use: "list", short: "List what is in quarantine, by reason",
		example: "  postroom quarantine list\n  postroom quarantine list --reason untrusted --limit 1000 --output json",
		args:    cobra.NoArgs,
		run: func(ctx context.Context, _ []string) error {
			if limit < 1 || limit > maxLimit {
				return misused("--limit is a number from 1 to %d, not %d", maxLimit, limit)
			}
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, _ *config.Config) error {
				return a.quarantineList(ctx, db, reason, name, limit)
			})
		},
	})
	c.Flags().StringVar(&reason, "reason", "", "only this reason")
	c.Flags().StringVar(&name, "mailbox", "", "only what was found in the mailbox of this name or id")
	c.Flags().IntVar(&limit, "limit", 10, "how many of each reason at most, the newest")
	return c
}

func (a *app) quarantineList(ctx context.Context, db *store.DB, reason, name string, limit int) error {
	id, err := mailboxID(ctx, db, name)
	if err != nil {
		return err
	}
	groups, err := db.Quarantine(ctx, reason, id, limit)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.printJSON(rowsOf(groups))
	}
	if len(groups) == 0 {
		return a.print("nothing is in quarantine\n")
	}
	var b strings.Builder
	for i, g := range groups {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s: %d%s\n", clean(g.Reason), g.Count, prefixed(" — ", reasonText(g.Reason)))
		t := table{header: []string{"RECEIPT", "SEEN", "MAILBOX", "FOLDER", "RECIPIENT", "SIZE"}, flex: 3}
		for _, e := range g.Entries {
			receiptID := strconv.FormatInt(e.ReceiptID, 10)
			if e.Ordinal > 0 {
				receiptID += fmt.Sprintf(" (original %d)", e.Ordinal)
			}
			t.add(receiptID, at(&e.SeenAt), e.Mailbox, e.Folder, e.Recipient, octets(e.Octets))
		}
		b.WriteString(t.text(a.columns()))
		if more := g.Count - int64(len(g.Entries)); more > 0 {
			fmt.Fprintf(&b, "… and %d older\n", more)
		}
	}
	return a.print(b.String())
}

// heldMessage is what quarantine show prints.
type heldMessage struct {
	explainedReceipt
	ReasonText string        `json:"reason_text"`
	Header     []headerField `json:"header"`
}

// headerField is a field of a quarantined message's header, decoded.
type headerField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (a *app) quarantineShow(ctx context.Context, db *store.DB, id string) error {
	receipts, err := readReceipts(ctx, db, id)
	if err != nil {
		return err
	}
	r := receipts[0]
	if len(receipts) > 1 || value(r.Outcome) != string(receipt.Quarantined) {
		return fault.New(fault.Permanent, "not_quarantined", "postroom quarantine list shows what is; postroom explain shows any receipt",
			fmt.Errorf("%q is not one receipt in quarantine", id))
	}
	header, err := readHeader(ctx, raw.New(db.Pool()), r.RawID)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.printJSON(heldMessage{explainedReceipt: r, ReasonText: reasonText(value(r.Reason)), Header: header})
	}
	var f fields
	f.line("header")
	for _, h := range header {
		f.line("  %-12s %s", h.Name, h.Value)
	}
	return a.print(receiptText(&r) + f.b.String())
}

// readHeader returns the fields that tell where a message comes from and whom it is for; none if it is not kept.
func readHeader(ctx context.Context, raws *raw.Store, rawID *int64) (list []headerField, err error) {
	list = []headerField{}
	if rawID == nil {
		return list, nil
	}
	r, err := raws.Open(ctx, *rawID, 0, -1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	head, err := io.ReadAll(io.LimitReader(r, headerOctets))
	if err != nil {
		return nil, fmt.Errorf("read the message's header: %w", err)
	}
	header := eml.Read(head, eml.DefaultLimits()).Root.Header
	for _, name := range []string{"From", "Sender", "Reply-To", "To", "Cc", "Date", "Subject", "Message-ID", "Return-Path", "Delivered-To", "Received", "Authentication-Results", "Content-Type"} {
		if text := header.Text(name); text != "" {
			if name != "Message-ID" {
				text = masked(text)
			}
			list = append(list, headerField{Name: name, Value: shorten(clean(text), 500)})
		}
	}
	return list, nil
}
