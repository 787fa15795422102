package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/store"
)

func (a *app) attachmentCommand() *cobra.Command {
	var file string
	c := a.command(spec{
		use: "attachment ID ORDINAL", short: "Write an attachment, decoded, to standard output or a file",
		long: `ORDINAL is the attachment's number in activity show. A file that exists is not overwritten. What is written is
checked against the digest that was taken when the mail was recorded.`,
		example: "  postroom activity attachment 01930c2e-5f0c-7cc3-98c4-dc0c0c07398f 1 -o invoice.pdf\n  postroom activity attachment 01930c2e-5f0c-7cc3-98c4-dc0c0c07398f 2 | sha256sum",
		args:    cobra.ExactArgs(2),
		run: func(ctx context.Context, args []string) error {
			id, err := activityID(args[0])
			if err != nil {
				return err
			}
			ordinal, err := strconv.ParseInt(args[1], 10, 16)
			if err != nil {
				return misused("%q is not the number of an attachment", args[1])
			}
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, cfg *config.Config) error {
				return a.attachment(ctx, db, cfg, id, int(ordinal), file)
			})
		},
	})
	c.Flags().StringVarP(&file, "out", "o", "", "file to write; - is standard output, also if that is a terminal")
	return c
}

func (a *app) attachment(ctx context.Context, db *store.DB, cfg *config.Config, id uuid.UUID, ordinal int, file string) error {
	span, err := db.Attachment(ctx, id, ordinal)
	if err != nil {
		return err
	}
	if file == "" && isTerminal(a.streams.Out) {
		return misused("an attachment is not written to a terminal: give -o FILE, or -o - to do it all the same")
	}
	encoded, err := raw.New(db.Pool()).Spool(ctx, span.RawID, span.Offset, span.Length, cfg.SpoolDir)
	if err != nil {
		return err
	}
	decoded := eml.DecodeSpan(encoded.Bytes(), span.Encoding)
	if file == "" || file == "-" {
		err = copyChecked(a.streams.Out, decoded, span.SHA256)
	} else {
		err = writeFile(file, decoded, span.SHA256)
	}
	return errors.Join(err, encoded.Close())
}

// isTerminal reports whether w is a character device: what an attachment holds could take a terminal over.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// copyChecked copies r to w and fails if its sha256 is not want (hexadecimal).
func copyChecked(w io.Writer, r io.Reader, want string) error {
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, h), r); err != nil {
		return fmt.Errorf("write the attachment: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fault.New(fault.Permanent, "attachment_differs", "restore the raw octets from a backup, or report this as a bug",
			fmt.Errorf("the attachment's sha256 is %s, it was recorded as %s", got, want))
	}
	return nil
}

// writeFile writes r to a new file, which is removed if that fails.
func writeFile(name string, r io.Reader, want string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fault.New(fault.Permanent, "file_exists", "name another file", fmt.Errorf("%s exists already", name))
	}
	if err != nil {
		return fmt.Errorf("write the attachment: %w", err)
	}
	if err := errors.Join(copyChecked(f, r, want), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
