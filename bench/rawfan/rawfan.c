// rawfan: what fan-out costs when there is nothing but the kernel. It speaks no protocol and keeps no history: each
// chunk that one read(2) takes from a publisher goes to every subscriber with one write(2). A server that coalesces
// well under load can come near it; none can be below it with one write(2) per subscriber.
//
//   rawfan            choose two free ports on 127.0.0.1, then print "ready sub=PORT pub=PORT" and serve until killed
//
// A subscriber is greeted with "ok\n" and then reads events; what it sends is ignored. An event is a line of text.
// One thread and one epoll: the events of the publishers are written in the order in which they were read.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 1 << 20, CHUNK = 1 << 16, PATIENCE_MS = 5000 };
enum role { NONE, SUB_LISTENER, PUB_LISTENER, SUBSCRIBER, PUBLISHER };

static unsigned char role_of[MAX_FDS];
static int subscribers[MAX_FDS], count, place_of[MAX_FDS];
static int loop;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch(int fd, enum role role, unsigned events) {
  struct epoll_event e = {.events = events, .data.fd = fd};
  if (fd >= MAX_FDS || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e)) die("watch");
  role_of[fd] = role;
}

// listener binds a free port and returns its number.
static int listener(enum role role) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) || listen(fd, 4096)) die("listen");
  if (getsockname(fd, (struct sockaddr *)&a, &len)) die("getsockname");
  watch(fd, role, EPOLLIN);
  return ntohs(a.sin_port);
}

static void forget(int fd) {
  if (role_of[fd] == SUBSCRIBER) {
    int last = subscribers[--count];
    subscribers[place_of[fd]] = last;
    place_of[last] = place_of[fd];
  }
  role_of[fd] = NONE;
  close(fd);
}

static void greet(int from, enum role role) {
  int fd, on = 1;
  while ((fd = accept4(from, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (role == PUBLISHER) {
      watch(fd, role, EPOLLIN);
      continue;
    }
    if (write(fd, "ok\n", 3) != 3) {
      close(fd);
      continue;
    }
    watch(fd, role, EPOLLIN | EPOLLRDHUP);
    place_of[fd] = count;
    subscribers[count++] = fd;
  }
}

// deliver writes the chunk to one subscriber and returns 0 when that one is gone. It waits for a full socket, as a
// program without queues has to.
static int deliver(int fd, const char *p, ssize_t n) {
  while (n > 0) {
    ssize_t w = write(fd, p, n);
    if (w >= 0) {
      p += w;
      n -= w;
    } else if (errno == EAGAIN) {
      struct pollfd full = {.fd = fd, .events = POLLOUT};
      if (poll(&full, 1, PATIENCE_MS) <= 0) return 0;
    } else if (errno != EINTR) {
      return 0;
    }
  }
  return 1;
}

int main(void) {
  static char chunk[CHUNK];
  struct epoll_event ready[512];
  struct rlimit files;
  signal(SIGPIPE, SIG_IGN);
  if (!getrlimit(RLIMIT_NOFILE, &files)) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  if ((loop = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll");
  int sub = listener(SUB_LISTENER), pub = listener(PUB_LISTENER);
  printf("ready sub=%d pub=%d\n", sub, pub);
  fflush(stdout);
  for (;;) {
    int n = epoll_wait(loop, ready, sizeof ready / sizeof *ready, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      int fd = ready[i].data.fd;
      switch (role_of[fd]) {
      case SUB_LISTENER: greet(fd, SUBSCRIBER); break;
      case PUB_LISTENER: greet(fd, PUBLISHER); break;
      case SUBSCRIBER:
        if (read(fd, chunk, sizeof chunk) == 0 || ready[i].events & (EPOLLERR | EPOLLHUP)) forget(fd);
        break;
      case PUBLISHER: {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) forget(fd);
        for (int s = 0; got > 0 && s < count;)
          if (deliver(subscribers[s], chunk, got)) s++;
          else forget(subscribers[s]); // the last one takes its place
        break;
      }
      default: break; // forgotten earlier in this round
      }
    }
  }
}
