# SPDX-License-Identifier: GPL-2.0-or-later
#
# Written by scripts/bench-page.  Columns: y, ratio, color.
$ratios << EOD
0 0.7296 2060267
1 0.9400 2060267
2 1.2051 2060267
3 1.0900 2060267
4 1.1180 2060267
5 1.3108 13574702
6 1.2951 2060267
7 1.0941 2060267
8 1.3376 2060267
9 0.9902 2060267
10 0.9851 2060267
11 1.1712 2060267
12 0.9649 2060267
13 0.9057 2060267
14 0.9382 2060267
15 1.0607 2060267
16 0.8435 2060267
17 1.0519 2060267
18 1.4980 2060267
19 1.0079 2060267
20 1.0547 2060267
21 1.6000 2060267
22 0.1724 2060267
23 0.6437 2060267
24 0.2160 2060267
25 0.6657 2060267
26 1.3064 13574702
27 1.3316 13574702
28 0.8686 2060267
29 0.9497 2060267
30 0.0158 2060267
31 0.0153 2060267
32 1.1015 2060267
33 1.6000 2060267
34 1.3228 2060267
35 1.6000 2060267
36 1.0895 2060267
37 1.5378 13574702
38 1.1940 2060267
39 1.0205 2060267
EOD
# y, target
$targets << EOD
2 1.3000
3 1.3000
4 1.3000
5 1.3000
7 1.3000
9 0.8000
10 0.8000
11 0.8000
12 0.8000
13 0.8000
14 0.8000
15 1.3000
16 0.7000
17 0.7000
18 0.7000
19 0.7000
20 0.7000
21 0.7000
22 0.2000
26 1.3000
27 1.3000
28 1.3000
29 1.3000
30 0.1000
31 0.1000
36 1.3000
37 1.3000
38 1.3000
39 1.3000
EOD
# y, ratio of the last page
$last << EOD
NaN NaN
EOD
# y, where the label is, label
$labels << EOD
0 0.7296 "0.73"
1 0.9400 "0.94"
2 1.3000 "1.21"
3 1.3000 "1.09"
4 1.3000 "1.12"
5 1.3108 "1.31"
6 1.2951 "1.30"
7 1.3000 "1.09"
8 1.3376 "1.34"
9 0.9902 "0.99"
10 0.9851 "0.99"
11 1.1712 "1.17"
12 0.9649 "0.96"
13 0.9057 "0.91"
14 0.9382 "0.94"
15 1.3000 "1.06"
16 0.8435 "0.84"
17 1.0519 "1.05"
18 1.4980 "1.50"
19 1.0079 "1.01"
20 1.0547 "1.05"
21 1.6000 "1.62"
22 0.2000 "0.17"
23 0.6437 "0.64"
24 0.2160 "0.22"
25 0.6657 "0.67"
26 1.3064 "1.31"
27 1.3316 "1.33"
28 1.3000 "0.87"
29 1.3000 "0.95"
30 0.1000 "0.016"
31 0.1000 "0.015"
32 1.1015 "1.10"
33 1.6000 "1.87"
34 1.3228 "1.32"
35 1.6000 "1.88"
36 1.3000 "1.09"
37 1.5378 "1.54"
38 1.3000 "1.19"
39 1.3000 "1.02"
EOD
set encoding utf8
set terminal svg size 860,990 font "sans-serif,12" background "#ffffff"
set title "Ratios of make bench\n2 cores, AMD EPYC, Linux 6.18.44, 2026-11-29"
set xrange [0:1.8399999999999999]
set yrange [-0.7:39.7]
set style fill solid noborder
set grid xtics lc "#d0d7de"
set border 1
set tics nomirror
set ytics ("NVMe, random reads of 4 KiB" 0, "NVMe, sequential reads of 1024 KiB" 1, "downtime added by the device, migration v2" 2, "downtime added by the device, migration v1, by message" 3, "downtime added by the device, migration v1, mapped" 4, "dirty bits, migration v2" 5, "dirty bits, migration v2, all dirty" 6, "dirty bits, migration v1" 7, "dirty bits, migration v1, all dirty" 8, "state loaded, migration v2" 9, "state loaded, migration v1, by message" 10, "state loaded, migration v1, mapped" 11, "state saved, migration v2" 12, "state saved, migration v1, by message" 13, "state saved, migration v1, mapped" 14, "1000 maps in one transaction" 15, "DMA by message, write, chunks of 1048576" 16, "DMA by message, write, chunks of 65536" 17, "DMA by message, write, chunks of 4096" 18, "DMA by message, read, chunks of 1048576" 19, "DMA by message, read, chunks of 65536" 20, "DMA by message, read, chunks of 4096" 21, "doorbell to posted write, KVM, server polls" 22, "doorbell to posted write, TCG, server polls" 23, "doorbell to posted write, KVM, server sleeps in poll" 24, "doorbell to posted write, TCG, server sleeps in poll" 25, "read in Linux, by system call, server polls" 26, "read in Linux, mapped, server polls" 27, "read in Linux, by system call, server sleeps in poll" 28, "read in Linux, mapped, server sleeps in poll" 29, "posted write, KVM, to the time of a slow server" 30, "posted write, TCG, to the time of a slow server" 31, "posted write, KVM, server polls" 32, "posted write, TCG, server polls" 33, "posted write, KVM, server sleeps in poll" 34, "posted write, TCG, server sleeps in poll" 35, "read, KVM, server polls" 36, "read, KVM, server sleeps in poll" 37, "read, TCG, server polls" 38, "read, TCG, server sleeps in poll" 39) scale 0
set lmargin 52
set key outside bottom center horizontal samplen 1.5
plot $ratios using ($2/2):1:($2/2):(0.35):3 with boxxyerror lc rgb variable \
        title "ratio, red if it misses its target", \
     $targets using 2:($1-0.45):(0):(0.9) with vectors nohead lw 2 lc "#24292f" \
        title "target", \
     $last using 2:1 with points pt 6 ps 0.8 lc "#24292f" title "last page", \
     $labels using 2:1:3 with labels left offset 0.7, 0 notitle
