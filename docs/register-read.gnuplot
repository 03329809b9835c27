# SPDX-License-Identifier: GPL-2.0-or-later
#
# Written by `make bench'.  Columns: x, median, p10, p90, where the label is, label.

$floors << EOD
0 19.5200 10.0800 21.6800 21.6800 "19.5"
3 3.5500 3.4700 3.9800 3.9800 "3.5"
6 19.5200 10.0800 21.6800 28.7000 "19.5 + 9.2"
9 3.5500 3.4700 3.9800 12.7300 "3.5 + 9.2"
EOD
# x, from, to
$exits << EOD
0 19.5200 19.5200
3 3.5500 3.5500
6 19.5200 28.7000
9 3.5500 12.7300
EOD
$guests << EOD
1 19.7600 17.9200 20.7900 25.3760 "1.01 ×\n19.8"
4 5.1200 5.0300 5.3700 5.3700 "1.44 ×\n5.1"
7 37.5200 36.4400 39.3300 39.3300 "1.31 ×\n37.5"
10 14.5600 14.3000 15.3700 16.5490 "1.14 ×\n14.6"
EOD
$targets << EOD
1 25.3760
4 4.6150
7 37.3100
10 16.5490
EOD
set encoding utf8
set terminal svg size 860,420 font "sans-serif,13" background "#ffffff"
set title "Register read of a vfio-user device: median, lines from p10 to p90\n\
2 cores, AMD EPYC, Linux 6.18.44, 2026-11-29"
set ylabel "microseconds"
set xrange [-1:11]
set yrange [0:*]
set offsets 0, 0, graph 0.15, 0
set style fill solid noborder
set boxwidth 0.9
set grid ytics lc "#d0d7de"
set border 3
set tics nomirror
set xtics ("TCG\nserver sleeps in poll" 0.5, "TCG\nserver polls" 3.5, "KVM\nserver sleeps in poll" 6.5, "KVM\nserver polls" 9.5) scale 0
set bmargin screen 0.27
set key at screen 0.03, 0.12 top left Left reverse samplen 1.5 maxrows 2 width -11
plot $exits using 1:(($2+$3)/2):(0.45):(($3-$2)/2) with boxxyerror lc "#d0d7de" \
        title "the exit from KVM to user space: a device inside QEMU", \
     $floors using 1:2 with boxes lc "#8da0b3" \
        title "the floor: a bare client on the socket", \
     $guests using 1:2 with boxes lc "#1f6feb" \
        title "a guest through QEMU, with its ratio to the left bar", \
     $targets using ($1-0.45):2:(0.9):(0) with vectors nohead lw 2 lc "#cf222e" \
        title "the target: at most 1.3 times the left bar", \
     $floors using 1:3:(0):($4-$3) with vectors nohead lc "#30363d" notitle, \
     $guests using 1:3:(0):($4-$3) with vectors nohead lc "#30363d" notitle, \
     $floors using 1:5:6 with labels offset 0, 0.8 font ",12" notitle, \
     $guests using 1:5:6 with labels offset 0, 1.5 notitle
