/*
 * What the bench runs in place of real services, and what it measures with.
 *
 *   toy launch JOURNAL PROGRAM [ARGUMENT...]  notes "exec" and becomes the program
 *   toy service JOURNAL NAME [HABIT...]       a service: notes "start" as its first act, and whatever happens to it
 *   toy cost PROGRAM [ARGUMENT...]            prints what one run costs: wall us, CPU us, largest KiB
 *
 * Habits: stubborn (does not end on TERM), port=N (answers HTTP there; after USR1 it accepts and never answers),
 * orphans=N and lines=N (what it makes on USR2).
 *
 * A note is one line: WHAT NAME MICROSECONDS NUMBER NUMBER, with CLOCK_MONOTONIC, which all processes share.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_AFTER = 50, ORPHANS_LIMIT_SECONDS = 20 };

static int journal;
static const char *name;

static long long microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void note(const char *what, long long at, long first, long second)
{
    char line[200];
    int length = snprintf(line, sizeof line, "%s %s %lld %ld %ld\n", what, name, at, first, second);
    if (write(journal, line, length) != length)
        _exit(1);
}

static void open_journal(const char *path)
{
    journal = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (journal < 0) {
        perror(path);
        _exit(1);
    }
}

static long number(const char *habit, const char *key)
{
    size_t length = strlen(key);
    return strncmp(habit, key, length) ? 0 : atol(habit + length);
}

/* Forget those of `pids` that the kernel knows no more; a zombie is still known. */
static long still_there(pid_t *pids, long count)
{
    long kept = 0;
    for (long i = 0; i < count; i++)
        if (kill(pids[i], 0) == 0)
            pids[kept++] = pids[i];
    return kept;
}

/* Make grandchildren that end at once and whose parent is gone: process 1 has to bury them. */
static void make_orphans(long count)
{
    long left = 0, most = 0;
    pid_t *last = mmap(NULL, sizeof *last, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t *pids = calloc(count, sizeof *pids);
    for (long i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            pid_t grandchild = fork();
            if (grandchild)
                *last = grandchild;
            _exit(0);
        }
        waitpid(child, NULL, 0);
        pids[left++] = *last;
        if (left > most)
            most = left;
        if (i % LOOK_AFTER == 0)
            left = still_there(pids, left);
    }
    long long forked = microseconds();
    while ((left = still_there(pids, left)) && microseconds() < forked + ORPHANS_LIMIT_SECONDS * 1000000LL)
        usleep(200);
    note("orphans", microseconds(), microseconds() - forked, left);
    note("most", microseconds(), most, 0);
}

static void write_lines(long count)
{
    static char text[] = "a line as a service writes it, long enough to be like most: GET /MAAS/api/2.0/version/ 200 OK\n";
    for (long i = 0; i < count; i++)
        if (write(STDOUT_FILENO, text, sizeof text - 1) < 0)
            _exit(1);
    note("written", microseconds(), count, 0);
}

static int listen_at(long port)
{
    int one = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 64)) {
        perror("cannot listen");
        _exit(1);
    }
    return listening;
}

static void answer(int listening, int hung)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    char request[4096];
    int connection = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0 || hung)
        return; /* whoever asks waits in vain: the connection stays open */
    if (read(connection, request, sizeof request) >= 0 && write(connection, text, sizeof text - 1) < 0)
        perror("answer");
    close(connection);
}

static int serve(char **habits)
{
    int stubborn = 0, hung = 0, listening = -1;
    long orphans = 0, lines = 0, port = 0;
    sigset_t heard;
    sigemptyset(&heard);
    sigaddset(&heard, SIGTERM);
    sigaddset(&heard, SIGUSR1);
    sigaddset(&heard, SIGUSR2);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    for (; *habits; habits++) {
        stubborn |= !strcmp(*habits, "stubborn");
        orphans += number(*habits, "orphans=");
        lines += number(*habits, "lines=");
        port += number(*habits, "port=");
    }
    if (port)
        listening = listen_at(port);
    struct pollfd wanted[] = {
        {.fd = signalfd(-1, &heard, SFD_CLOEXEC), .events = POLLIN},
        {.fd = listening, .events = POLLIN},
    };
    while (poll(wanted, 2, -1) >= 0) {
        struct signalfd_siginfo got;
        if (wanted[1].revents)
            answer(listening, hung);
        if (!wanted[0].revents || read(wanted[0].fd, &got, sizeof got) != sizeof got)
            continue;
        if (got.ssi_signo == SIGTERM) {
            note("told", microseconds(), getpid(), 0);
            if (!stubborn)
                return 0;
        } else if (got.ssi_signo == SIGUSR1) {
            note("hung", microseconds(), getpid(), 0);
            hung = 1;
        } else {
            if (orphans)
                make_orphans(orphans);
            if (lines)
                write_lines(lines);
        }
    }
    return 1;
}

static int cost(char **argv)
{
    int status;
    struct rusage used;
    long long before = microseconds();
    pid_t child = fork();
    if (child == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDOUT_FILENO);
        dup2(nowhere, STDERR_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    wait4(child, &status, 0, &used);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return 127;
    printf("%lld %lld %ld\n", microseconds() - before,
           (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec + used.ru_stime.tv_usec,
           used.ru_maxrss);
    return 0;
}

int main(int argc, char **argv)
{
    long long began = microseconds();
    if (argc > 3 && !strcmp(argv[1], "service")) {
        name = argv[3];
        open_journal(argv[2]);
        note("start", began, getpid(), 0);
        return serve(argv + 4);
    }
    if (argc > 3 && !strcmp(argv[1], "launch")) {
        name = "init";
        open_journal(argv[2]);
        note("exec", microseconds(), getpid(), 0);
        execvp(argv[3], argv + 3);
        perror(argv[3]);
        return 127;
    }
    if (argc > 2 && !strcmp(argv[1], "cost"))
        return cost(argv + 2);
    fputs("usage: see the head of toy.c\n", stderr);
    return 2;
}
