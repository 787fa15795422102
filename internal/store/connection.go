package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postroom/postroom/internal/fault"
)

// connectionVerdict classes what goes wrong between us and the server; false: err is of another kind.
func connectionVerdict(err error) (verdict, bool) {
	if v, ok := tlsVerdict(err); ok {
		return v, true
	}
	_, unresolved := errors.AsType[*net.DNSError](err)
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), connecting && errors.Is(err, fs.ErrNotExist):
		return verdict{fault.Transient, "database_refused", "Start PostgreSQL, and check host and port of database.url."}, true
	case connecting && errors.Is(err, fs.ErrPermission):
		return verdict{fault.Permanent, "database_socket_closed", "Let Postroom's user into the folder of PostgreSQL's socket, or connect over TCP."}, true
	case unresolved:
		return verdict{fault.Transient, "database_host_unknown", "Check the host of database.url, and the name server."}, true
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return verdict{fault.Transient, "database_timeout", "PostgreSQL did not answer in time: check the network and its load."}, true
	case connecting, network, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, pgconn.ErrConnClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), pgconn.SafeToRetry(err):
		return verdict{fault.Transient, "database_connection_lost", "Check that PostgreSQL runs and can be reached."}, true
	}
	return verdict{}, false
}

func tlsVerdict(err error) (verdict, bool) {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, hostname := errors.AsType[x509.HostnameError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	if untrusted || authority || hostname || record {
		return verdict{fault.Permanent, "database_tls", "Check the server's certificate, sslrootcert and sslmode of database.url."}, true
	}
	return verdict{}, false
}
