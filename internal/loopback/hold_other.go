//go:build !linux

package loopback

import (
	"errors"
	"net"
)

// hold cannot hold a port on this system. It finds one that is free now.
func hold() (port int, release func(), err error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0, nil, errors.Join(errors.New("not a TCP address"), listener.Close())
	}
	return addr.Port, func() {}, listener.Close()
}
