/* shim: the small process that stays with one container, or one exec session, and outlives the engine.
 *
 *   shim run DIR [options] -- RUNTIME ARGS...    fd 3: first client, fd 4: listening socket for more
 *   shim exec DIR [options] -- RUNTIME ARGS...   fd 3: the only client, which gets the output
 *   shim pause DIR                               fd 3: a pipe that gets the process id
 *
 * It makes DIR its working directory, detaches from its parent, becomes the reaper of its descendants, and runs the
 * OCI runtime, which must leave the process detached and write its number to the file `pid` (and, with --tty, send the
 * terminal to the socket `console.sock`). Then it moves bytes: the process's output to the log and to clients that
 * asked for it, their input to the process. When the process ends it writes the file `exit` and ends too.
 *
 * Options: --log FILE --log-size BYTES --log-files N --oom FILE (a cgroup file with a line `oom_kill N`) --tty --stdin
 * --stdin-once --bound (an exec session's process is killed when its client goes).
 *
 * Clients speak frames: a byte that says what it is, four bytes of length (big endian), the payload.
 *   to the shim:   i input   c no more input   r resize (rows, columns: two bytes each)   k signal (a byte)
 *                  l open the log anew   a send me output from now on
 *   from the shim: s started (pid, time)   f failed (text)   o, e output   x exited (what the file `exit` says)
 * A client that does not read holds the output up for five seconds at most; then it is dropped.
 *
 * engine/shims.py is the other side. Nothing here waits for anything but poll(). */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 16384, BATCH = 65536, CLIENTS = 32, FRAME = 32768, STALL_MS = 5000, EARLY = 16 };

static const char *log_path, *oom_path;
static long log_size, log_files = 5;
static int with_tty, with_stdin, stdin_once, is_exec, bound, abandoned;

/* The process's stdout and stderr; with a terminal only the first. `line` holds what has no newline yet. */
static struct stream { int fd; size_t len; char line[LINE]; } streams[2] = {{.fd = -1}, {.fd = -1}};
static int input_fd = -1, console_fd = -1, log_fd = -1;
static off_t log_at;

static struct client {
    int fd, wants_output, gave_input;
    int64_t stalled_since;                       /* 0: what was sent is taken */
    size_t in_len, in_used, out_len;             /* in_used: input already passed on of the frame being worked on */
    unsigned char in[FRAME + 5], out[FRAME + 1024];
} clients[CLIENTS];

static pid_t runtime_pid, main_pid;
static long long start_time;
static int ended;                                /* the process has ended and all its output has been read */
static int main_status, main_known;
static struct { pid_t pid; int status; } early[EARLY];  /* reaped before the runtime told us which pid is ours */
static char exit_text[8192];

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- clients: what goes out ---- */

static void drop(struct client *c) {
    close(c->fd);
    int gave = c->gave_input;
    memset(c, 0, offsetof(struct client, in));
    c->fd = -1;
    int left = 0;
    for (int i = 0; i < CLIENTS; i++) left += clients[i].fd >= 0;
    /* An exec session without its client gets no more input, and a terminal hangs up. */
    abandoned = bound && !left;
    if (abandoned && main_pid && !main_known) kill(main_pid, SIGKILL);
    if (!(is_exec && !left) && !(stdin_once && gave)) return;
    if (!with_tty && input_fd >= 0) close(input_fd);
    if (with_tty && streams[0].fd >= 0) { close(streams[0].fd); streams[0].fd = -1; }
    input_fd = -1;
}

static void push(struct client *c) {
    ssize_t n = send(c->fd, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) { drop(c); return; }
    if (n > 0) {
        memmove(c->out, c->out + n, c->out_len - n);
        c->out_len -= n;
        c->stalled_since = 0;
    }
    if (c->out_len && !c->stalled_since) c->stalled_since = now_ms();
}

static void tell(struct client *c, char kind, const void *data, size_t len) {
    if (c->out_len + len + 5 > sizeof c->out) { drop(c); return; }
    uint32_t size = htonl(len);
    c->out[c->out_len] = kind;
    memcpy(c->out + c->out_len + 1, &size, 4);
    memcpy(c->out + c->out_len + 5, data, len);
    c->out_len += len + 5;
    push(c);
}

static void tell_all(char kind, const void *data, size_t len, int only_output) {
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].fd >= 0 && (!only_output || clients[i].wants_output)) tell(&clients[i], kind, data, len);
}

static int anyone_stalled(void) {
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].fd >= 0 && clients[i].out_len && clients[i].wants_output) return 1;
    return 0;
}

/* ---- the log ---- */

static char batch[BATCH];
static size_t batch_len;

static void open_log(void) {
    if (!log_path) return;
    if (log_fd >= 0) close(log_fd);
    log_fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    struct stat st;
    log_at = log_fd >= 0 && !fstat(log_fd, &st) ? st.st_size : 0;
}

static void rotate(void) {
    char from[4352], to[4352];
    for (long n = log_files - 1; n >= 1; n--) {
        snprintf(to, sizeof to, "%s.%ld", log_path, n);
        if (n > 1) snprintf(from, sizeof from, "%s.%ld", log_path, n - 1);
        else snprintf(from, sizeof from, "%s", log_path);
        rename(from, to);
    }
    if (log_files <= 1) unlink(log_path);
    open_log();
}

/* A line is in the log whole or not at all: what a full disk took only in part is taken back. */
static void flush_batch(void) {
    if (log_fd >= 0 && batch_len) {
        if (log_size && log_at && log_at + (off_t)batch_len > log_size) rotate();
        size_t done = 0;
        while (done < batch_len) {
            ssize_t n = write(log_fd, batch + done, batch_len - done);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) break;
            done += n;
        }
        if (done < batch_len) { if (ftruncate(log_fd, log_at)) {} }
        else log_at += done;
    }
    batch_len = 0;
}

static void log_line(int which, char tag, const char *text, size_t len) {
    static char stamp[40];
    static time_t second = -1;
    struct timespec t;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &t);
    if (t.tv_sec != second) {
        gmtime_r(&t.tv_sec, &tm);
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
        second = t.tv_sec;
    }
    if (batch_len + len + 64 > sizeof batch) flush_batch();
    batch_len += snprintf(batch + batch_len, 64, "%s.%09ldZ %s %c ", stamp, t.tv_nsec, which ? "stderr" : "stdout", tag);
    memcpy(batch + batch_len, text, len);
    batch_len += len;
    batch[batch_len++] = '\n';
}

/* ---- output of the process ---- */

/* Read once from a stream; 0 when there is nothing for now, -1 at its end. */
static int pump(int which) {
    struct stream *s = &streams[which];
    ssize_t n = read(s->fd, s->line + s->len, LINE - s->len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) {                                 /* a terminal ends with EIO */
        if (s->len && log_path) { log_line(which, 'P', s->line, s->len); flush_batch(); } /* a last line without its end */
        s->len = 0;
        close(s->fd);
        if (with_tty && !which) input_fd = -1;
        s->fd = -1;
        return -1;
    }
    tell_all(which ? 'e' : 'o', s->line + s->len, n, 1);
    if (!log_path) return 1;
    s->len += n;
    char *at = s->line, *end = s->line + s->len, *newline;
    while ((newline = memchr(at, '\n', end - at))) {
        log_line(which, 'F', at, newline - at);
        at = newline + 1;
    }
    if (at == s->line && s->len == LINE) { log_line(which, 'P', at, LINE); at = end; }
    s->len = end - at;
    memmove(s->line, at, s->len);
    flush_batch();
    return 1;
}

/* ---- the end ---- */

static size_t escape(char *to, size_t room, const char *text, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len && n + 7 < room; i++) {
        unsigned char ch = text[i];
        if (ch == '"' || ch == '\\') { to[n++] = '\\'; to[n++] = ch; }
        else if (ch < 0x20) n += sprintf(to + n, "\\u%04x", ch);
        else to[n++] = ch;
    }
    to[n] = 0;
    return n;
}

static int oom_killed(void) {
    char text[512], *at;
    int fd = oom_path ? open(oom_path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return (at = strstr(text, "oom_kill ")) && atol(at + 9) > 0;
}

static void write_exit(int status, const char *error) {
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    int n = snprintf(exit_text, sizeof exit_text,
        "{\"pid\":%d,\"status\":%d,\"signal\":%d,\"time\":%lld,\"oom\":%s,\"error\":\"", main_pid,
        sig ? 128 + sig : WEXITSTATUS(status), sig, now_ns(), oom_killed() ? "true" : "false");
    n += escape(exit_text + n, sizeof exit_text - n - 4, error, strlen(error));
    strcpy(exit_text + n, "\"}\n");
    if (is_exec) return;
    int fd = open("exit.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ssize_t done = write(fd, exit_text, strlen(exit_text));
        close(fd);
        if (done == (ssize_t)strlen(exit_text)) rename("exit.tmp", "exit");
    }
}

/* Read what is left in the pipes: not without end, as other processes of a shared PID namespace may still write. */
static void finish(void) {
    static int reads;
    for (int i = 0; i < 2; i++)
        while (streams[i].fd >= 0 && !anyone_stalled() && reads++ < 1024 && pump(i) > 0) {}
    if (anyone_stalled()) return;                 /* poll() brings us back */
    for (int i = 0; i < 2; i++)
        if (streams[i].len) { log_line(i, 'P', streams[i].line, streams[i].len); streams[i].len = 0; }
    flush_batch();
    write_exit(main_status, "");
    tell_all('x', exit_text, strlen(exit_text), 0);
    ended = 1;
}

static void failed(int status) {
    static char text[3000];
    ssize_t n = 0, got;
    int fd = streams[1].fd;
    while (fd >= 0 && n < (ssize_t)sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0) n += got;
    while (n && text[n - 1] == '\n') n--;
    text[n] = 0;
    if (!n) n = snprintf(text, sizeof text, "the runtime ended with status %d and said nothing", status);
    write_exit(128 << 8, text);
    tell_all('f', text, n, 0);
    ended = 1;
}

static void started(void) {
    char text[64] = "";
    int fd = open("pid", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) { if (read(fd, text, sizeof text - 1) < 0) text[0] = 0; close(fd); }
    main_pid = atoi(text);
    start_time = now_ns();
    int n = snprintf(text, sizeof text, "%d %lld", main_pid, start_time);
    tell_all('s', text, n, 0);
    for (int i = 0; i < EARLY; i++)
        if (main_pid && early[i].pid == main_pid) { main_known = 1; main_status = early[i].status; }
    if (abandoned && main_pid && !main_known) kill(main_pid, SIGKILL);
}

static void reap(void) {
    static int next;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == runtime_pid) {
            runtime_pid = 0;
            if (status) { failed(status); return; }
            started();
        } else if (pid == main_pid) {
            main_known = 1;
            main_status = status;
        } else if (!main_pid) {
            early[next].pid = pid;
            early[next].status = status;
            next = (next + 1) % EARLY;
        }
    }
}

/* ---- clients: what comes in ---- */

static void add_client(int fd, int wants_output) {
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        if (c->fd >= 0) continue;
        memset(c, 0, offsetof(struct client, in));
        c->fd = fd;
        c->wants_output = wants_output;
        char text[64];
        int n = snprintf(text, sizeof text, "%d %lld", main_pid, start_time);
        if (main_pid) tell(c, 's', text, n);
        return;
    }
    close(fd);
}

/* Do what a frame says; 0 when the process does not take its input yet. */
static int obey(struct client *c, char kind, unsigned char *data, size_t len) {
    if (kind == 'i' && (input_fd >= 0 || runtime_pid)) {
        if (input_fd < 0) return 0;               /* the terminal has not come yet */
        c->gave_input = 1;
        while (c->in_used < len) {
            ssize_t n = write(input_fd, data + c->in_used, len - c->in_used);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0 && errno == EAGAIN) return 0;
            if (n < 0) { if (!with_tty) close(input_fd); input_fd = -1; break; }
            c->in_used += n;
        }
    } else if (kind == 'c' && input_fd >= 0 && !with_tty && (is_exec || stdin_once)) {
        close(input_fd);
        input_fd = -1;
    } else if (kind == 'r' && len == 4 && with_tty) {
        if (streams[0].fd < 0) return !runtime_pid;
        struct winsize size = {.ws_row = data[0] << 8 | data[1], .ws_col = data[2] << 8 | data[3]};
        ioctl(streams[0].fd, TIOCSWINSZ, &size);
    } else if (kind == 'k' && len == 1) {
        if (main_pid && !main_known) kill(main_pid, data[0]);
        else if (runtime_pid) kill(runtime_pid, data[0]);
    } else if (kind == 'l') {
        flush_batch();
        open_log();
    } else if (kind == 'a') {
        c->wants_output = 1;
    }
    return 1;
}

/* Work through the frames that have come; those after one that has to wait, wait with it. */
static void work(struct client *c) {
    while (c->fd >= 0 && c->in_len >= 5) {
        uint32_t size;
        memcpy(&size, c->in + 1, 4);
        size = ntohl(size);
        if (size > FRAME) { drop(c); return; }
        if (c->in_len < size + 5 || !obey(c, c->in[0], c->in + 5, size)) return;
        c->in_used = 0;
        c->in_len -= size + 5;
        memmove(c->in, c->in + 5 + size, c->in_len);
    }
}

static void receive(struct client *c) {
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) { drop(c); return; }
    c->in_len += n;
    work(c);
}

static int waits_for_input(struct client *c) {
    uint32_t size;
    if (c->in_len < 5 || c->in[0] != 'i') return 0;
    memcpy(&size, c->in + 1, 4);
    return c->in_len >= ntohl(size) + 5;
}

/* ---- the terminal ---- */

static void take_console(void) {
    int conn = accept4(console_fd, NULL, NULL, SOCK_CLOEXEC), master = -1;
    char byte[256], room[CMSG_SPACE(sizeof(int))];
    struct iovec io = {byte, sizeof byte};
    struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    if (conn < 0) return;
    if (recvmsg(conn, &message, MSG_CMSG_CLOEXEC) > 0) {
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        if (c && c->cmsg_type == SCM_RIGHTS) memcpy(&master, CMSG_DATA(c), sizeof master);
    }
    close(conn);
    if (master < 0) return;
    fcntl(master, F_SETFL, O_NONBLOCK);
    streams[0].fd = master;
    if (with_stdin) input_fd = master;
    close(console_fd);
    console_fd = -1;
    unlink("console.sock");
}

static int listen_console(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "console.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink("console.sock");
    return bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1) ? -1 : fd;
}

/* ---- beginning and loop ---- */

static void make_pipe(int ends[2], int ours) {
    if (pipe2(ends, O_CLOEXEC)) _exit(1);
    fcntl(ends[ours], F_SETFL, O_NONBLOCK);
}

static void start_runtime(char **argv) {
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    make_pipe(err, 0);
    if (with_tty) console_fd = listen_console();
    else make_pipe(out, 0);
    if (with_stdin && !with_tty) make_pipe(in, 1);
    runtime_pid = fork();
    if (runtime_pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        dup2(in[0] >= 0 ? in[0] : null, 0);
        dup2(out[1] >= 0 ? out[1] : null, 1);
        dup2(err[1], 2);
        syscall(SYS_close_range, 3, ~0U, 0);
        execvp(argv[0], argv);
        dprintf(2, "cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(err[1]);
    close(null);
    streams[1].fd = err[0];
    if (!with_tty) { close(out[1]); streams[0].fd = out[0]; }
    if (in[0] >= 0) { close(in[0]); input_fd = in[1]; }
}

/* What to wait for. The order of fds matches `handle`. Output waits while a client is stalled, and before the process
 * has started, since the runtime's complaint comes the same way. */
static int gather(struct pollfd *p, int signals, int listener) {
    int quiet = !main_pid || anyone_stalled();
    p[0] = (struct pollfd){signals, POLLIN, 0};
    p[1] = (struct pollfd){listener, POLLIN, 0};
    p[2] = (struct pollfd){console_fd, POLLIN, 0};
    p[3] = (struct pollfd){quiet ? -1 : streams[0].fd, POLLIN, 0};
    p[4] = (struct pollfd){quiet ? -1 : streams[1].fd, POLLIN, 0};
    p[5] = (struct pollfd){-1, POLLOUT, 0};
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        int full = c->in_len == sizeof c->in || waits_for_input(c);
        p[6 + i] = (struct pollfd){c->fd, (full ? 0 : POLLIN) | (c->out_len ? POLLOUT : 0), 0};
        if (c->fd >= 0 && waits_for_input(c)) p[5].fd = input_fd;
    }
    return 6 + CLIENTS;
}

static int next_deadline(void) {
    int64_t now = now_ms(), left = -1;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        if (c->fd < 0 || !c->stalled_since) continue;
        int64_t rest = c->stalled_since + STALL_MS - now;
        if (rest <= 0) drop(c);
        else if (left < 0 || rest < left) left = rest;
    }
    return left;
}

static void handle(struct pollfd *p, int signals, int listener) {
    if (p[0].revents) {
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof info) > 0) {}
        reap();
    }
    if (p[1].revents) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) add_client(fd, 0);
    }
    if (p[2].revents) take_console();
    if (p[3].revents && streams[0].fd >= 0) pump(0);
    if (p[4].revents && streams[1].fd >= 0) pump(1);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        if (c->fd < 0 || c->fd != p[6 + i].fd) continue;
        if (p[6 + i].revents & POLLOUT) push(c);
        if (c->fd >= 0 && p[6 + i].revents & (POLLIN | POLLHUP | POLLERR)) {
            /* A client that hung up while its input waits is noticed once the input is taken. */
            if (p[6 + i].events & POLLIN) receive(c);
            else if (p[6 + i].revents & (POLLHUP | POLLERR)) drop(c);
        }
        if (c->fd >= 0) work(c);
    }
}

static void loop(int signals, int listener) {
    struct pollfd p[6 + CLIENTS];
    while (!ended) {
        int n = gather(p, signals, listener);
        if (poll(p, n, next_deadline()) > 0) handle(p, signals, listener);
        if (main_known && !ended) finish();
    }
    /* Clients may still have to take their last bytes. */
    for (int waiting = 1; waiting;) {
        waiting = 0;
        struct pollfd last[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            int open = clients[i].fd >= 0 && clients[i].out_len;
            last[i] = (struct pollfd){open ? clients[i].fd : -1, POLLOUT, 0};
            waiting |= open;
        }
        if (!waiting) break;
        if (poll(last, CLIENTS, next_deadline()) > 0)
            for (int i = 0; i < CLIENTS; i++)
                if (last[i].revents && clients[i].fd >= 0) push(&clients[i]);
    }
}

/* ---- pause: holds a PID namespace that containers of a pod share ---- */

static void settle_pause(void) {
    char *here = getcwd(NULL, 0);
    sigset_t some;
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) _exit(1);
    if (!here || mount("none", here, "tmpfs", MS_RDONLY, NULL) || chdir(here)) _exit(1);
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")) _exit(1);
    if (setgroups(0, NULL) || setgid(65535) || setuid(65535)) _exit(1);
    syscall(SYS_close_range, 0, ~0U, 0);
    sigfillset(&some);
    sigprocmask(SIG_BLOCK, &some, NULL);
    for (;;) {
        int sig = sigwaitinfo(&some, NULL);
        if (sig == SIGCHLD) while (waitpid(-1, NULL, WNOHANG) > 0) {}
        if (sig == SIGTERM || sig == SIGINT) _exit(0);
    }
}

static int pause_main(void) {
    static const char *kinds[] = {"net", "ipc", "uts"};
    for (int i = 0; i < 3; i++) {
        int fd = open(kinds[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;                     /* the pod uses the host's */
        if (setns(fd, 0)) return 1;
        close(fd);
    }
    if (unshare(CLONE_NEWPID)) return 1;
    pid_t pid = fork();
    if (pid == 0) { setsid(); settle_pause(); }
    dprintf(3, "%d\n", pid);
    return pid < 0;
}

static char **options(char **argv) {
    for (; *argv && strcmp(*argv, "--"); argv++) {
        if (!strcmp(*argv, "--tty")) with_tty = 1;
        else if (!strcmp(*argv, "--stdin")) with_stdin = 1;
        else if (!strcmp(*argv, "--stdin-once")) stdin_once = 1;
        else if (!strcmp(*argv, "--bound")) bound = 1;
        else if (!argv[1]) return NULL;
        else if (!strcmp(*argv, "--log")) log_path = *++argv;
        else if (!strcmp(*argv, "--log-size")) log_size = atol(*++argv);
        else if (!strcmp(*argv, "--log-files")) log_files = atol(*++argv);
        else if (!strcmp(*argv, "--oom")) oom_path = *++argv;
        else return NULL;
    }
    return *argv && argv[1] ? argv + 1 : NULL;
}

int main(int argc, char **argv) {
    if (argc < 3 || chdir(argv[2])) return 2;
    if (!strcmp(argv[1], "pause")) return pause_main();
    is_exec = !strcmp(argv[1], "exec");
    char **runtime = options(argv + 3);
    if (!runtime) return 2;
    pid_t child = fork();
    if (child) return child < 0;
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    syscall(SYS_close_range, is_exec ? 4 : 5, ~0U, 0);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++) dup2(null, fd);
    if (null > 2) close(null);
    fcntl(3, F_SETFD, FD_CLOEXEC);
    if (!is_exec) fcntl(4, F_SETFD, FD_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    for (int i = 0; i < CLIENTS; i++) clients[i].fd = -1;
    open_log();
    start_runtime(runtime);
    add_client(3, is_exec);
    loop(signals, is_exec ? -1 : 4);
    return 0;
}
