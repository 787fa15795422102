package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/inspect"
	"github.com/postroom/postroom/internal/source"
)

// inspectLimit is the longest file that is inspected.
const inspectLimit = 1 << 30

func (a *app) inspectCommand() *cobra.Command {
	var as string
	c := a.command(spec{
		use: "inspect FILE…", short: "Show what Postroom makes of messages in files, without a database",
		long: `Reads each file as a message that stands in a forward mailbox (or with --as user in a user's own, where nothing is
unwrapped) and shows its class, its originals and how it is read. Whose mail it is and whether it is trusted needs the
database: see explain. "-" is standard input. A file that cannot be read, or is empty, is of class unreadable; the
others are shown all the same, and the exit code is 1. With --output json: one object a line for each file.`,
		example: "  postroom inspect message.eml\n  postroom inspect --output json *.eml | jq -r .class | sort | uniq -c\n  postroom inspect --as user - < message.eml",
		args:    atLeastOneFile,
		run: func(ctx context.Context, args []string) error {
			if as != "forward" && as != "user" {
				return misused("--as is forward or user, not %q", as)
			}
			return a.inspect(ctx, args, as == "user")
		},
	})
	c.Flags().StringVar(&as, "as", "forward", "the kind of mailbox that the message is thought to stand in: forward or user")
	return c
}

func atLeastOneFile(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("inspect needs at least one file; - is standard input")
	}
	return nil
}

func (a *app) inspect(ctx context.Context, files []string, asUser bool) error {
	unreadable := false
	for i, file := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		o := a.inspectOne(file, asUser)
		unreadable = unreadable || o.Class == classify.Unreadable
		if err := a.printObject(&o, i); err != nil {
			return err
		}
	}
	if unreadable {
		return errTold
	}
	return nil
}

func (a *app) printObject(o *inspect.Object, i int) error {
	if o.Class == classify.Unreadable {
		a.complain(fmt.Sprintf("%s: %s", o.File, o.Reason), "")
	}
	if a.isJSON() {
		return a.printJSON(o)
	}
	var b strings.Builder
	if i > 0 {
		b.WriteString("\n")
	}
	if err := o.Print(&b); err != nil {
		return fmt.Errorf("show %s: %w", o.File, err)
	}
	return a.print(b.String())
}

// inspectOne shows one file. Nothing about it stops the others.
func (a *app) inspectOne(file string, asUser bool) (o inspect.Object) {
	octets, err := a.readMessage(file)
	if err != nil {
		return unreadableFile(file, err)
	}
	defer func() {
		if v := recover(); v != nil {
			o = unreadableFile(file, fmt.Errorf("reading it failed: report this as a bug (%v)", v))
		}
		_ = octets.Close() // it was only read
	}()
	return inspect.Octets(file, octets.Bytes(), asUser)
}

func unreadableFile(file string, err error) inspect.Object {
	o := inspect.Octets(file, nil, false)
	o.Class, o.Reason = classify.Unreadable, err.Error()
	if o.Message == nil {
		o.Message = eml.Read(nil, eml.DefaultLimits()).View()
	}
	return o
}

// readMessage copies the file, so that nobody can change or cut it while it is read: to memory, or, if it is long, to an
// unlinked temporary file.
func (a *app) readMessage(file string) (*source.Raw, error) {
	r, err := a.openMessage(file)
	if err != nil {
		return nil, err
	}
	spool := source.NewSpool("", inspectLimit)
	defer spool.Abort()
	_, err = io.Copy(spool, r)
	if err := errors.Join(err, r.Close()); err != nil {
		if errors.Is(err, source.ErrSpoolFull) {
			return nil, errors.New("the file is longer than 1 GiB")
		}
		return nil, reason(err)
	}
	return spool.Finish()
}

func (a *app) openMessage(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(a.streams.In), nil
	}
	// O_NONBLOCK: a named pipe without a writer must not hold up the others.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&os.ModeNamedPipe == 0 {
		err = errors.New("it is not a file")
	}
	if err != nil {
		return nil, errors.Join(reason(err), f.Close())
	}
	return f, nil
}

// reason returns err without the file's name, which stands before it already.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
