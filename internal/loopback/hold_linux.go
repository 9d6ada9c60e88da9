package loopback

import (
	"errors"
	"os"
	"syscall"
)

// hold binds a socket and does not listen. Linux allows a second socket to bind and
// listen on the same port, because both set SO_REUSEADDR and the first one does not
// listen. When Linux looks for a free port it skips ports that are bound in this way.
func hold() (port int, release func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	number, err := bind(fd)
	if err != nil {
		return 0, nil, errors.Join(err, syscall.Close(fd))
	}
	return number, func() { _ = syscall.Close(fd) }, nil
}

func bind(fd int) (port int, err error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	inet4, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return 0, errors.New("getsockname: not an IPv4 address")
	}
	return inet4.Port, nil
}
